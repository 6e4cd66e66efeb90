"""The prompt of a reranker: a template with placeholders, and the default instruction.

This module knows nothing about where a checkpoint states them.
"""

from __future__ import annotations

from dataclasses import dataclass

# Source: the code of the Qwen3-Reranker model cards.
QWEN_TEMPLATE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)


@dataclass(frozen=True, slots=True)
class PairPrompt:
    """The prompt of a reranker.

    Attributes:
        template: The prompt with the placeholders `{query}`, `{document}` and, if it reads one, `{instruction}`.
        instruction: The default instruction; None if the checkpoint names none.
    """

    template: str = QWEN_TEMPLATE
    instruction: str | None = None

    def parameters(self, *, default_instruction: str) -> dict[str, str]:
        """Return the parameters of a model's configuration that tell clients the prompt.

        Args:
            default_instruction: The default instruction of Qwen's prompt where the checkpoint names none.
        """
        stated = {"prompt_template": self.template}
        if "{instruction}" not in self.template:
            return stated
        if self.instruction is None and self.template == QWEN_TEMPLATE:
            return stated | {"default_instruction": default_instruction}
        return stated | ({"default_instruction": self.instruction} if self.instruction else {})
