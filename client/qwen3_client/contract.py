"""The tensor contract, and what a served model says about itself.

The config that Triton returns for a model has the names and types of its tensors and a map of string `parameters`. This
module checks the tensors, which also shows whether a model is an embedding model or a reranker, and reads the
parameters. It knows nothing about how the config reached the client.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, TypeVar

from .errors import ContractMismatchError
from .fingerprint import fingerprint_of
from .mrl import MrlSizes
from .pair_template import QWEN_TEMPLATE, fault_of

INPUT_NAME = "input_ids"  # [n]: the token ids of one prompt, never padded
INPUT_TYPE = "INT64"
OUTPUT_TYPE = "FP32"
FINGERPRINT_TYPE = "INT64"  # of the output `fingerprint`, which earlier exports do not have
EMBEDDING_NAME = "embedding"  # [dimensions]: unit norm
SCORE_NAME = "score"  # [1]: P(yes), the softmax over the logits of "no" and "yes" after the prompt
LOGIT_NAME = "logit"  # [1]: logit(yes) - logit(no); still differs where scores round to the same number

_LEAST = {"eos_token_id": 0}  # the lowest allowed value; that of every other number is 1
_MAY_BE_EMPTY = {"revision", "query_prompt", "document_prompt"}

InfoT = TypeVar("InfoT", bound="ServedInfo")

_log = logging.getLogger("qwen3_client")


class _UnfitError(Exception):
    """The reason why a config does not meet the contract, as a clause for a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedInfo:
    """The description that a served model of either kind gives of itself.

    Each attribute in lower case, except `name` and `is_normalized`, is the parameter of the same name in the model's
    config.

    Attributes:
        NOUN: the name of this kind of model in messages.
        OPTION: the argument of `Client` that names a model of this kind.
        TOKENIZER_OPTION: the argument of `Client` that says where its tokenizer is.
        CHECKPOINT: a checkpoint of this kind, for messages that suggest an export.
        OUTPUTS: names of its output tensors.
        name: its name on the server.
        source: checkpoint that it was exported from, a Hub id or a folder.
        revision: commit of the checkpoint; "" if unknown.
        model_family: such as "Qwen3-Embedding".
        model_size: such as "0.6B".
        precision: such as "fp32" or "int8".
        max_tokens: maximum number of tokens in one prompt, including everything that the client adds to a text.
        vocabulary: number of tokens in its vocabulary; ids start at 0.
        tokenizer: Hub id, or folder with the tokenizer.json.
        tokenizer_sha256: sha256 of the bytes of the tokenizer.json, 64 lower-case hexadecimal digits.
        default_instruction: the instruction that is used when the caller gives none.
        device: "cpu", "cuda" or "tensorrt"; "" if the model does not state it.
        fingerprint: the short name of the space of its vectors or scores, which follows from the other parameters (see
            `fingerprint`); None for a model that was exported before there were fingerprints.
    """

    NOUN: ClassVar[str]
    OPTION: ClassVar[str]
    TOKENIZER_OPTION: ClassVar[str]
    CHECKPOINT: ClassVar[str]
    OUTPUTS: ClassVar[tuple[str, ...]]

    name: str
    source: str
    revision: str
    model_family: str
    model_size: str
    precision: str
    max_tokens: int
    vocabulary: int
    tokenizer: str
    tokenizer_sha256: str
    default_instruction: str
    device: str = ""
    fingerprint: str | None = None

    @property
    def output_width(self) -> int:
        """The length of each output for one prompt."""
        return 1

    def check_fingerprint(self, expected: str | None) -> None:
        """Make sure that this is the model whose vectors or scores the caller has already.

        Args:
            expected: its fingerprint; None to take any model.

        Raises:
            ContractMismatchError: it is another model, or was exported before there were fingerprints.
        """
        if expected in (None, self.fingerprint):
            return
        if self.fingerprint is None:
            raise ContractMismatchError(
                f"the served model {self.name!r} has no fingerprint, but {expected} is expected: it was exported by an "
                "older version; export it again with `qwen3-triton export --force`"
            )
        raise ContractMismatchError(
            f"the served model {self.name!r} has the fingerprint {self.fingerprint}, but {expected} is expected: what "
            f"the two models compute cannot be compared; name the model with that fingerprint with {self.OPTION}=, or "
            f"compute everything again with this one and expect {self.fingerprint}"
        )

    @classmethod
    def fits(cls, config: Mapping[str, Any]) -> bool:
        """Return whether a model is of this kind, judged by its tensors."""
        try:
            _check_tensors(config, outputs=cls.OUTPUTS)
        except _UnfitError:
            return False
        return True

    @classmethod
    def from_config(cls: type[InfoT], config: Mapping[str, Any]) -> InfoT:
        """Check a Triton model config against the contract and reads its parameters.

        Args:
            config: the config as JSON, with the names of Triton's `model_config.proto`.

        Raises:
            ContractMismatchError: a tensor or a parameter is missing, or not what the contract says.
        """
        name = str(config.get("name", "?"))
        try:
            shapes = _check_tensors(config, outputs=cls.OUTPUTS)
            info = cls(name=name, **_read_parameters(config, kind=cls))
            for output, shape in shapes.items():
                if shape != [info.output_width]:
                    raise _UnfitError(f"its output {output!r} has shape {shape}, not [{info.output_width}]")
        except _UnfitError as reason:
            raise ContractMismatchError(
                f"the served model {name!r} does not work with this client as its {cls.NOUN}: {reason}; "
                f"export it again with `qwen3-triton export`, or name another with {cls.OPTION}="
            ) from None
        return info


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo(ServedInfo):
    """The description that a served embedding model gives of itself.

    Attributes:
        dimensions: length of the vectors that the server returns.
        eos_token_id: id of the end token, which ends every text.
        query_prompt: the text before every query; None for a model whose queries name their task, as those of
            Qwen3-Embedding do. A model with a query prompt has no default instruction: it is "".
        document_prompt: the text before every document.
        mrl_dimensions: the sizes to which the vectors may be cut: "fixed", a range such as "32-1024", or a list such as
            "256,512,1024"; None for every size from 32 on.
        is_normalized: whether vectors have norm 1. Some models have no Normalize; their parameter `normalized` is
            "false".
    """

    NOUN: ClassVar[str] = "embedding model"
    OPTION: ClassVar[str] = "model"
    TOKENIZER_OPTION: ClassVar[str] = "tokenizer"
    CHECKPOINT: ClassVar[str] = "Qwen/Qwen3-Embedding-0.6B"
    OUTPUTS: ClassVar[tuple[str, ...]] = (EMBEDDING_NAME,)

    dimensions: int
    eos_token_id: int
    query_prompt: str | None = None
    document_prompt: str = ""
    mrl_dimensions: str | None = None
    is_normalized: bool = True

    @property
    def output_width(self) -> int:
        """The length of each output for one prompt."""
        return self.dimensions

    def check_dimensions(self, dimensions: int, *, option: str = "dimensions") -> None:
        """Make sure that the vectors may be cut to a size.

        Args:
            dimensions: the size.
            option: what the caller calls it.

        Raises:
            InvalidInputError: they may not; the message says to which they may, and why.
        """
        sizes = MrlSizes.parse(self.mrl_dimensions, full=self.dimensions)
        assert sizes is not None  # noqa: S101 - `from_config` has checked it
        sizes.check(dimensions, option=option)


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankerInfo(ServedInfo):
    """The description that a served reranker gives of itself.

    Attributes:
        prompt_template: the text around instruction, query and document, with the placeholders `{query}`, `{document}`
            and, if the model reads one, `{instruction}`.
    """

    NOUN: ClassVar[str] = "reranker"
    OPTION: ClassVar[str] = "reranker"
    TOKENIZER_OPTION: ClassVar[str] = "reranker_tokenizer"
    CHECKPOINT: ClassVar[str] = "Qwen/Qwen3-Reranker-0.6B"
    OUTPUTS: ClassVar[tuple[str, ...]] = (SCORE_NAME, LOGIT_NAME)

    prompt_template: str = QWEN_TEMPLATE

    @property
    def takes_instruction(self) -> bool:
        """Whether the prompts name a task."""
        return "{instruction}" in self.prompt_template


def string_parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of a Triton model config, given as JSON. That of gRPC leaves out empty strings."""
    parameters: Mapping[str, Any] = config.get("parameters") or {}
    return {key: str(value.get("string_value", "")) for key, value in parameters.items() if isinstance(value, Mapping)}


def _check_tensors(config: Mapping[str, Any], *, outputs: tuple[str, ...]) -> dict[str, list[int]]:
    """Return the shapes of the outputs, after checking the names and types of all tensors.

    Raises:
        _UnfitError: a tensor is missing, or has another name or type.
    """
    wanted = [f"{INPUT_NAME} {INPUT_TYPE}"]
    needed = [_signature(tensor) for tensor in config.get("input") or [] if not tensor.get("optional")]
    if needed != wanted:
        raise _UnfitError(f"it takes [{', '.join(needed)}], not [{', '.join(wanted)}]")
    wanted = [f"{name} {OUTPUT_TYPE}" for name in outputs]
    given = {_signature(tensor): tensor for tensor in config.get("output") or []}
    if not given.keys() >= set(wanted):
        raise _UnfitError(f"it gives [{', '.join(given)}], not [{', '.join(wanted)}]")
    # In the JSON form of protobuf, 64-bit numbers are strings.
    return {
        name: [int(size) for size in given[signature].get("dims", [])]
        for name, signature in zip(outputs, wanted, strict=True)
    }


def _signature(tensor: Mapping[str, Any]) -> str:
    return f"{tensor.get('name', '?')} {str(tensor.get('data_type', '?')).removeprefix('TYPE_')}"


def _read_parameters(config: Mapping[str, Any], *, kind: type[ServedInfo]) -> dict[str, Any]:
    """Return the parameters by name, each converted to the type of its attribute, str or int.

    Raises:
        _UnfitError: a parameter is missing, or its value is not valid.
    """
    parameters = string_parameters(config)
    has_own_prompts = parameters.keys() & {"query_prompt", "prompt_template"}
    values: dict[str, Any] = {"default_instruction": ""} if has_own_prompts else {}
    for field in fields(kind):
        key = field.name
        if key in ("name", "fingerprint", "is_normalized"):
            continue
        text = parameters.get(key)
        if text is None and (key in values or field.default is not MISSING):
            continue
        if text is None:
            raise _UnfitError(f"its config has no parameter {key!r}")
        if field.type is int:
            least = _LEAST.get(key, 1)
            if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < least:
                raise _UnfitError(f"parameter {key!r} is {text!r}, not a whole number of at least {least}")
            values[key] = int(text)
        elif not text and key not in _MAY_BE_EMPTY:
            raise _UnfitError(f"parameter {key!r} is empty")
        elif key == "prompt_template" and (fault := fault_of(text)):
            raise _UnfitError(f"parameter {key!r} is no prompt template: {fault}")
        else:
            values[key] = text
    mrl = values.get("mrl_dimensions")
    if mrl is not None and MrlSizes.parse(mrl, full=1) is None:
        raise _UnfitError(f"parameter 'mrl_dimensions' is {mrl!r}, not 'fixed', a range or a list of sizes")
    values["tokenizer_sha256"] = values["tokenizer_sha256"].lower()
    if not re.fullmatch(r"[0-9a-f]{64}", values["tokenizer_sha256"]):
        raise _UnfitError(f"parameter 'tokenizer_sha256' is {values['tokenizer_sha256']!r}, not a sha256")
    values["fingerprint"] = fingerprint_of(parameters)
    if kind is ModelInfo:
        values["is_normalized"] = parameters.get("normalized") != "false"
    stated = parameters.get("fingerprint")
    if stated and stated != values["fingerprint"]:
        _log.warning(
            "the parameters of the model %r were changed after it was exported: its fingerprint is %s, not %s as its "
            "config.pbtxt still says",
            config.get("name"),
            values["fingerprint"],
            stated,
        )
    return values
