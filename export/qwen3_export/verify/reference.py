"""The reference: what the checkpoint's own library computes from it, in float32 on the CPU.

That is sentence-transformers for an embedding model with a modules.json, see `sentence_reference`, and transformers for
all others; `reranker_reference` has the heads of rerankers. These modules and `library_calls` alone import torch and
transformers. Knows nothing about ONNX or servers.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from ..kind import Kind
from ..model_directory.triton_config import read_config
from .cases import Case, ModelTokenizer, tokenized_texts
from .errors import VerifyError
from .library_calls import available_bytes, errors_in_one_line, is_out_of_memory, quiet
from .model_directory import ModelDirectory
from .progress import Progress, silent
from .reranker_reference import Classifier, TokenScore, is_classifier, reranker_head
from .sentence_reference import (
    checkpoint_file,
    has_modules,
    load_sentence_model,
    longest_text,
    read_ids,
    saved_prompts,
    sentence_vector,
)
from .source import Source
from .stored_names import unused_tensors
from .texts import Text

ADVERTISED_CONTEXT = 32_768  # tokens; the model cards' "Context Length: 32k"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json")


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """What the library computed.

    Attributes:
        rows: One for each case. Of an embedding model: what its modules make of a text; without modules, the last
            token's hidden state after the final norm, scaled to norm 1: float32 `[n, dimensions]`. Of a reranker: score
            and logit, float32 `[n, 2]`.
        faults: One line for each built-in text for which the library reads other token ids than clients send.
    """

    rows: npt.NDArray[np.float32]
    faults: tuple[str, ...]


class Reference:
    """One checkpoint. Its weights are in memory only while `compute` runs."""

    def __init__(self, source: Source, *, kind: Kind) -> None:
        """Read the checkpoint's config.json.

        Raises:
            VerifyError: There is none, or it is not that of a Qwen3 model.
        """
        self._source = source
        self._kind = kind
        # If config.json is missing, transformers guesses the model type from the folder's name.
        if source.is_local and not (Path(source.name_or_path) / "config.json").is_file():
            raise VerifyError(f"{source.name_or_path} holds no config.json; give a complete checkpoint with --source")
        with errors_in_one_line(source, "config.json"), quiet():
            self._config: Any = transformers.AutoConfig.from_pretrained(source.name_or_path, revision=source.revision)
            self._has_modules = kind == "embedding" and has_modules(source)
        # The classes load the same decoder; a reranker needs its head too.
        self._auto: Any = transformers.AutoModel
        if kind == "reranker":
            is_head = is_classifier(self._config)
            self._auto = (
                transformers.AutoModelForSequenceClassification if is_head else transformers.AutoModelForCausalLM
            )
        if self._config.model_type != "qwen3":
            raise VerifyError(
                f"{source.name_or_path} holds a {self._config.model_type} model, not a qwen3 model; correct --source"
            )
        # transformers runs such code if it is told to, and without a word leaves it out otherwise.
        if getattr(self._config, "auto_map", None):
            raise VerifyError(f"{source.name_or_path} has Python code of its own (auto_map), which verify does not run")
        # The libraries merge it while they load the weights, if PEFT is installed, and else leave it out.
        if checkpoint_file(source, "adapter_config.json") is not None:
            raise VerifyError(
                f"{source.name_or_path} holds an adapter beside its weights; merge it into them with PEFT's "
                "merge_and_unload, save that, and pass --source <merged folder>"
            )

    @property
    def vocabulary(self) -> int:
        """Size of the checkpoint's vocabulary."""
        return int(self._config.vocab_size)

    @property
    def max_tokens(self) -> int:
        """Longest text of the model in tokens."""
        longest = min(int(self._config.max_position_embeddings), ADVERTISED_CONTEXT)
        if not self._has_modules:
            return longest
        with errors_in_one_line(self._source, "tokenizer"), quiet():
            return min(longest, longest_text(self._source))

    def setting_faults(self, model: ModelDirectory) -> list[str]:
        """Compare what an embedding model tells clients with what sentence-transformers does to a text.

        Returns:
            One line for each difference; none if sentence-transformers did not save the checkpoint.
        """
        if not self._has_modules:
            return []
        stated = {key: value.string_value for key, value in read_config(model.path / "config.pbtxt").parameters.items()}
        named = f"Instruct: {stated.get('default_instruction')}\nQuery:"
        found = {"query": stated.get("query_prompt", named), "document": stated.get("document_prompt", "")}
        faults = [
            f"the model puts {found[kind]!r} before a {kind}, and sentence-transformers {own!r}"
            for kind, own in saved_prompts(self._source).items()
            if found[kind] != own
        ]
        if stated.get("max_tokens") != str(self.max_tokens):
            faults.append(
                f"the model takes {stated.get('max_tokens')} tokens, and sentence-transformers {self.max_tokens}"
            )
        return faults

    @property
    def library(self) -> str:
        """The library that computes it."""
        return "sentence-transformers" if self._has_modules else "transformers"

    def bytes(self) -> int:
        """Return the size of the weights in float32."""
        with torch.device("meta"), quiet():
            return 4 * int(self._auto.from_config(self._config).num_parameters())

    def compute(self, cases: Sequence[Case], *, tokenizer: ModelTokenizer, progress: Progress = silent) -> Results:
        """Run every case alone, and free the weights.

        Args:
            cases: Token ids inside the vocabulary.
            tokenizer: The tokenizer, which has the ids of a reranker's answers.
            progress: Receives the number of tokens done.

        Raises:
            VerifyError: The weights cannot be loaded, or there is not enough memory.
        """
        head = None if self._kind == "embedding" else reranker_head(self._source, self._config, tokenizer)
        needed, available = self.bytes(), available_bytes()
        # Linux grants more memory than it has, and later kills the process without a message. So check it first.
        if available is not None and needed > available:
            raise VerifyError(f"{self._memory(needed)}, and {available / 1e9:.1f} GB are free; use a larger machine")
        rows = []
        faults: list[str] = []
        model = None
        try:
            # The stage starts before the weights are loaded, because for short texts that takes most of the time.
            total = sum(case.ids.size for case in cases)
            with progress(self.library, total=total, unit="tok") as advance, torch.inference_mode():
                model = self._load()
                faults = self._id_faults(model, tokenizer) if self._has_modules else []
                for case in cases:
                    rows.append(self._row(model, torch.from_numpy(case.ids)[None], head))
                    advance(case.ids.size)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise VerifyError(
                f"{self._memory(needed)}; use a larger machine, or lower --max-tokens if the weights alone fit"
            ) from None
        finally:
            del model
            gc.collect()
        return Results(np.stack(rows), tuple(faults))

    def _id_faults(self, model: Any, tokenizer: ModelTokenizer) -> list[str]:  # noqa: ANN401
        """Compare the token ids that sentence-transformers reads with those that clients send."""
        texts = list(tokenized_texts(self._kind))
        # Longer than any model's longest text, to see which end is cut off.
        endless = " ".join(text.text for text in texts)
        endless *= self.max_tokens // len(tokenizer.body(endless)) + 2
        faults = []
        for kind, prompt in saved_prompts(self._source).items():
            for text in (*texts, Text("a text that is too long", endless)):
                read = read_ids(model, text.text, prompt=prompt)
                # Where a text is cut, `setting_faults` compares.
                if read != [*tokenizer.body(prompt + text.text)[: len(read) - 1], tokenizer.end()]:
                    start = model.tokenizer.decode(read[:60])
                    faults.append(
                        f"sentence-transformers reads other token ids for {text.name!r} as a {kind} than clients send; "
                        f"its text begins {start!r}"
                    )
        return faults[:1]  # they are all of one cause

    def _memory(self, needed: int) -> str:
        return f"the reference takes {needed / 1e9:.1f} GB of memory for float32 weights, and more for long texts"

    def _row(
        self,
        model: Any,  # noqa: ANN401
        ids: torch.Tensor,
        head: Classifier | TokenScore | None,
    ) -> npt.NDArray[np.float32]:
        if self._has_modules:
            return sentence_vector(model, ids)
        if head is None:
            last = model(ids, use_cache=False).last_hidden_state[0, -1]
            vector: npt.NDArray[np.float32] = torch.nn.functional.normalize(last, dim=-1).numpy()
            return vector
        return head.score(model, ids)

    def _load(self) -> Any:  # noqa: ANN401
        if self._has_modules:
            with errors_in_one_line(self._source, "modules"), quiet():
                model = load_sentence_model(self._source, self._config)
            self._check_used(model[0].auto_model)
            return model
        with errors_in_one_line(self._source, "weights"), quiet():
            model, loading = self._auto.from_pretrained(
                self._source.name_or_path,
                revision=self._source.revision,
                dtype=torch.float32,
                output_loading_info=True,
            )
        # transformers initialises missing weights with random numbers and only warns.
        if loading["missing_keys"]:
            missing = sorted(loading["missing_keys"])
            raise VerifyError(
                f"{self._source.name_or_path} lacks {len(missing)} weights, {missing[0]} among them; "
                "give a complete checkpoint with --source"
            )
        self._check_used(model)
        return model.eval()

    def _check_used(self, model: Any) -> None:  # noqa: ANN401
        if unused := unused_tensors(self._source, model):
            raise VerifyError(
                f"{self._source.name_or_path} holds {len(unused)} tensors that {self.library} does not use, "
                f"{unused[0]} among them; give a checkpoint with --source that it loads whole"
            )


def tokenizer_faults(tokenizer: ModelTokenizer, source: Source, *, kind: Kind) -> list[str] | None:
    """Compare the exported tokenizer with the checkpoint's tokenizer on every built-in text.

    Returns:
        One line for each text for which the ids differ; None if the checkpoint has no tokenizer.

    Raises:
        VerifyError: The checkpoint's tokenizer cannot be loaded.
    """
    if source.is_local and not any((Path(source.name_or_path) / file).is_file() for file in _TOKENIZER_FILES):
        return None
    with errors_in_one_line(source, "tokenizer"), quiet():
        own: Any = transformers.AutoTokenizer.from_pretrained(source.name_or_path, revision=source.revision)
    is_embedding = kind == "embedding"
    end = [tokenizer.end()] if is_embedding else []
    return [
        f"tokenizer.json and the checkpoint's tokenizer give different ids for {text.name!r}"
        for text in tokenized_texts(kind)
        if [*tokenizer.body(text.text), *end] != own(text.text, add_special_tokens=is_embedding)["input_ids"]
    ]
