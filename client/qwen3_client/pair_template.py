"""A reranker's prompt template: the text around the instruction, the query and the document of a pair.

A template is a text with the placeholders `{query}` and `{document}`, and `{instruction}` if the model reads one. All
else, other braces included, stands for itself. This module knows nothing about tokens.
"""

import re
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias, cast

Placeholder: TypeAlias = Literal["instruction", "query", "document"]

# The prompt of Qwen3-Reranker, from the code of its model cards. It ends with an empty thinking block, so that the next
# token is the answer. In the body, a space follows each colon.
QWEN_TEMPLATE: Final = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)

_PLACEHOLDER = re.compile(r"\{(instruction|query|document)\}")


def template_parts(template: str) -> Iterator[tuple[str, Placeholder | None]]:
    """Yield the texts of a template, each with the placeholder that follows it; None after the last one."""
    texts = _PLACEHOLDER.split(template)
    names = cast(list[Placeholder], texts[1::2])
    yield from zip(texts[::2], [*names, None], strict=True)


def fault_of(template: str) -> str | None:
    """Return what is wrong with a template, as a clause for a message; None if nothing is."""
    found = _PLACEHOLDER.findall(template)
    for name, least in (("query", 1), ("document", 1), ("instruction", 0)):
        if not least <= found.count(name) <= 1:
            return f"it has the placeholder {{{name}}} {found.count(name)} times instead of once"
    return None
