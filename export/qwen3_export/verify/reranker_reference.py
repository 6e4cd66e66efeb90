"""How a reranker's own library scores a prompt: from the logits of two tokens, or from a classification head.

It shares no code with export's reader of the same files, so that a mistake of that reader is found.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import transformers

from .cases import ModelTokenizer
from .errors import VerifyError
from .sentence_reference import checkpoint_file
from .source import Source

_RELEVANT: Final = {"yes", "true", "relevant", "positive", "label_1", "1"}


@dataclass(frozen=True, slots=True)
class Classifier:
    """A `Qwen3ForSequenceClassification`.

    Attributes:
        relevant: The index of the label that means relevant, of two; None if there is one label.
    """

    relevant: int | None

    def score(self, model: Any, ids: torch.Tensor) -> npt.NDArray[np.float32]:  # noqa: ANN401
        """Return score and logit, `[2]`, of one prompt from its token ids, `[1, tokens]`."""
        logits = model(ids, use_cache=False).logits[0]
        logit = logits[0] if self.relevant is None else logits[self.relevant] - logits[1 - self.relevant]
        pair: npt.NDArray[np.float32] = torch.stack([torch.sigmoid(logit), logit]).numpy()
        return pair


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A language model whose next token is the answer.

    Attributes:
        yes: The id of the token that means relevant.
        no: The id of the other; None if the logit of `yes` alone counts.
    """

    yes: int
    no: int | None

    def score(self, model: Any, ids: torch.Tensor) -> npt.NDArray[np.float32]:  # noqa: ANN401
        """Return score and logit, `[2]`, of one prompt from its token ids, `[1, tokens]`."""
        # Logits at the last position only; those of all positions would be [tokens, vocabulary].
        logits = model(ids, use_cache=False, logits_to_keep=1).logits[0, -1]
        if self.no is None:
            logit, score = logits[self.yes], torch.sigmoid(logits[self.yes])
        else:
            logit, score = logits[self.yes] - logits[self.no], torch.softmax(logits[[self.yes, self.no]], dim=-1)[0]
        pair: npt.NDArray[np.float32] = torch.stack([score, logit]).numpy()
        return pair


def reranker_head(
    source: Source, config: transformers.PretrainedConfig, tokenizer: ModelTokenizer
) -> Classifier | TokenScore:
    """Return how a checkpoint scores a prompt.

    Args:
        source: The checkpoint.
        config: Its config.json, as transformers reads it.
        tokenizer: The tokenizer, which has the ids of "yes" and "no".

    Raises:
        VerifyError: Its labels do not tell which of them means relevant.
    """
    if is_classifier(config):
        if config.num_labels == 1:
            return Classifier(None)
        found = [index for index, label in config.id2label.items() if str(label).lower() in _RELEVANT]
        if config.num_labels != 2 or len(found) != 1:
            raise VerifyError(f"the labels of {source.name_or_path} do not tell which of them means relevant")
        return Classifier(int(found[0]))
    listed = checkpoint_file(source, "modules.json")
    for module in [] if listed is None else json.loads(listed.read_text("utf-8")):
        if str(module["type"]).endswith(".LogitScore"):
            stated = checkpoint_file(source, f"{module['path']}/config.json")
            ids = {} if stated is None else json.loads(stated.read_text("utf-8"))
            return TokenScore(int(ids["true_token_id"]), ids.get("false_token_id"))
    return TokenScore(tokenizer.only_id("yes"), tokenizer.only_id("no"))


def is_classifier(config: transformers.PretrainedConfig) -> bool:
    """Return whether a checkpoint has a classification head."""
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or [])
