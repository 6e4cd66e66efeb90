"""A reranker's head: how the logit of a pair follows from the hidden state after its prompt.

Three forms of checkpoints have one:

- the published ones answer "yes" or "no" with the next token, so the logit is the difference of two rows of lm_head;
- sentence-transformers' `LogitScore` names other tokens, or one token, whose logit is taken as it is;
- `Qwen3ForSequenceClassification` has a head of its own, `score`, with one label or with two.

All of them become two rows. This module knows nothing about graphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ExportError
from ..kind import is_classifier
from .checkpoint import Checkpoint
from .json_file import read_object, read_object_if_there
from .module_settings import refuse_unknown
from .modules import MODULES, module_types, reranker_modules
from .sentence_config import MODEL_CONFIG, check_sentence_config
from .vocabulary import Answers, answers, checked_answers

Row = npt.NDArray[np.float32]

# Names of two labels in config.json, the one for a relevant document last. transformers calls them LABEL_0 and LABEL_1
# unless told otherwise, and by convention the second one means relevant.
_PAIRS_OF_LABELS = (
    ("label_0", "label_1"),
    ("no", "yes"),
    ("false", "true"),
    ("0", "1"),
    ("negative", "positive"),
    ("irrelevant", "relevant"),
    ("not_relevant", "relevant"),
)
# With one label, sigmoid makes `score`, and what the identity leaves is `logit`: both are served. With two, the softmax
# over both is the sigmoid of their difference. A sigmoid of each of two labels is another function.
_ACTIVATIONS = {1: ("Sigmoid", "Identity"), 2: ("Softmax", "Identity")}
_PROBLEMS = {1: (None, "regression", "multi_label_classification"), 2: (None, "single_label_classification")}


@dataclass(frozen=True, slots=True, eq=False)
class RerankerHead:
    """The head: `logit = hidden . yes - hidden . no`, and `score` is the sigmoid of it.

    Attributes:
        yes: FP32 `[hidden]`.
        no: FP32 `[hidden]`; zeros if the head has one row.
    """

    yes: Row
    no: Row


def read_head(checkpoint: Checkpoint) -> RerankerHead:
    """Read the head of a reranker.

    Raises:
        ExportError: The head is missing, or is of a form that cannot be served; the message says which.
    """
    config = read_object(checkpoint.folder / "config.json")
    if (checkpoint.saved_folder / MODULES).is_file():
        check_sentence_config(checkpoint.saved_folder, kind="reranker")
    if is_classifier(config):
        _check_modules(checkpoint, ["Transformer"])
        return _classifier(checkpoint, config)
    if "score.weight" in checkpoint.tensors:
        raise ExportError(
            f"{checkpoint.folder} holds score.weight, the head of Qwen3ForSequenceClassification, but config.json "
            f"names {config.get('architectures')!r} as architectures; use the config.json that belongs to these weights"
        )
    _check_modules(checkpoint, ["Transformer", "LogitScore"])
    _check_activation(checkpoint, config, labels=1)
    found = _scored_answers(checkpoint) or answers(checkpoint)
    g = checkpoint.geometry
    # As transformers 5, which does not tie a head to the embeddings if another one is stored.
    is_tied = g.tied and "lm_head.weight" not in checkpoint.tensors
    stored = checkpoint.tensor("embed_tokens.weight" if is_tied else "lm_head.weight", g.vocabulary, g.hidden)
    rows = stored.map()[[found.yes, found.yes if found.no is None else found.no]]
    stored.check_finite(rows)
    yes, no = rows.astype(np.float32)
    return RerankerHead(yes, np.zeros_like(yes) if found.no is None else no)


def _classifier(checkpoint: Checkpoint, config: Mapping[str, Any]) -> RerankerHead:
    names = config.get("id2label")
    # transformers does not write the labels where they are its default, LABEL_0 and LABEL_1.
    labels = len(names) if isinstance(names, Mapping) else int(config.get("num_labels") or 2)
    if labels not in _ACTIVATIONS:
        raise ExportError(
            f"the head of {checkpoint.folder} has {labels} labels; a reranker gives one number for a pair, so export a "
            "checkpoint with one label, or with two whose softmax is the score"
        )
    _check_activation(checkpoint, config, labels=labels)
    weight = checkpoint.tensor("score.weight", labels, checkpoint.geometry.hidden).values().astype(np.float32)
    if labels == 1:
        return RerankerHead(weight[0], np.zeros_like(weight[0]))
    no, yes = _label_order(names)
    return RerankerHead(weight[yes], weight[no])


def _label_order(names: object) -> tuple[int, int]:
    """Return the indices of the labels for an irrelevant and for a relevant document."""
    if not isinstance(names, Mapping):
        return 0, 1
    found = tuple(str(names.get(str(index), "")).lower().replace(" ", "_") for index in range(2))
    if found in _PAIRS_OF_LABELS:
        return 0, 1
    if found[::-1] in _PAIRS_OF_LABELS:
        return 1, 0
    raise ExportError(
        f"config.json names the labels {dict(names)!r}, which does not tell which of them means relevant; name them "
        '"no" and "yes" in id2label'
    )


def _check_activation(checkpoint: Checkpoint, config: Mapping[str, Any], *, labels: int) -> None:
    """Check that the score is what the checkpoint's own library makes of the logits."""
    problem = config.get("problem_type")
    if problem not in _PROBLEMS[labels]:
        raise ExportError(
            f"config.json has problem_type = {problem!r} with {labels} label{'s' * (labels > 1)}, which is not the "
            "probability that a document is relevant; export a checkpoint with one label"
        )
    saved = read_object_if_there(checkpoint.saved_folder / MODEL_CONFIG).get("activation_fn")
    older = config.get("sentence_transformers")
    older = older.get("activation_fn") if isinstance(older, Mapping) else None
    for activation in (saved, older, config.get("sbert_ce_default_activation_function")):
        module, _, name = str(activation).rpartition(".")
        if activation is not None and not (module.startswith("torch.nn") and name in _ACTIVATIONS[labels]):
            raise ExportError(
                f"{checkpoint.folder} asks for the activation {activation}; with {labels} label{'s' * (labels > 1)}, "
                f"{' or '.join(f'torch.nn.{name}' for name in _ACTIVATIONS[labels])} can be served"
            )


def _check_modules(checkpoint: Checkpoint, readable: list[str]) -> None:
    """Check that sentence-transformers computes nothing after the transformer that the head leaves out."""
    types = module_types(checkpoint.saved_folder)
    if types and types not in (readable, readable[:1]):
        raise ExportError(
            f"{checkpoint.saved_folder / MODULES} lists {', '.join(types)}; of rerankers, "
            f"{' and '.join(readable)} can be exported, and for an embedding model add --kind embedding"
        )


def _scored_answers(checkpoint: Checkpoint) -> Answers | None:
    """Return the tokens that sentence-transformers' LogitScore names; None if there is no such module."""
    for kind, folder in reranker_modules(checkpoint.saved_folder):
        if kind == "LogitScore":
            path = folder / "config.json"
            config = read_object(path)
            refuse_unknown(path, config, known={"true_token_id", "false_token_id", "module_input_name"})
            if config.get("module_input_name", "causal_logits") != "causal_logits":
                raise ExportError(f"{path} reads {config['module_input_name']!r}; only causal_logits can be exported")
            return checked_answers(checkpoint, config.get("true_token_id"), config.get("false_token_id"), where=path)
    return None
