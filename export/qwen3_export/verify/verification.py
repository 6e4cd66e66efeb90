"""The verification of one model: its files, its tokenizer, every text alone and in a batch, and the model card."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .bounds import Bounds, bounds_for
from .cases import Case, ModelTokenizer, embedding_cases, reranker_cases
from .comparison import Comparison, compare
from .errors import VerifyError
from .exact_sums import LONGEST, saturation_fault
from .files import FileReport, check_files
from .model_card import CardReport, compare_with_card, published
from .model_directory import ModelDirectory, read_model
from .progress import Progress, silent
from .runner import Rows, Runner, mixed_batches
from .source import find_source

DEFAULT_MAX_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of verifying one model.

    Attributes:
        model: The exported model.
        files: The check of its files. If it failed, nothing else was done.
        source: The checkpoint that it was compared with.
        library: The library that computed the reference.
        comparisons: One for each text.
        batches: How many mixed batches were run.
        shared: How many texts are known to have run in a batch with others.
        card: The comparison with the model card; None if the checkpoint is not a published one.
        faults: Everything that is wrong, as sentences.
        notes: What was not compared, and why.
    """

    model: ModelDirectory
    files: FileReport
    source: str = ""
    library: str = ""
    comparisons: tuple[Comparison, ...] = ()
    batches: int = 0
    shared: int = 0
    card: CardReport | None = None
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether texts were compared, alone and in batches, and nothing is wrong."""
        return self.files.passed and not self.faults and len(self.comparisons) > 0 and self.shared > 0


def verify_model(
    directory: Path,
    *,
    source: str | None = None,
    url: str | None = None,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    tuned_configs: bool = False,
    progress: Progress = silent,
) -> Verdict:
    """Compare one exported model with its checkpoint's own library on the weights that it was exported from.

    Args:
        directory: The model directory.
        source: The checkpoint's folder or Hub id; None for the one that the manifest names.
        url: The gRPC host:port of a running server whose answers are compared; None to run model.onnx here.
        max_tokens: Length of the longest built-in text.
        tuned_configs: Accept config.pbtxt files that were edited after the export.
        progress: Receives the progress of each stage.

    Raises:
        VerifyError: Nothing can be compared; the message says what to do.
    """
    model = read_model(directory)
    bounds = bounds_for(model.precision)
    files = check_files(model, tuned_configs=tuned_configs, progress=progress)
    if not files.passed:
        return Verdict(model, files, faults=files.faults)
    checkpoint = find_source(model, given=source)
    # Fail early if there is no server, or no GPU.
    runner = _server(url, model) if url is not None else None
    if runner is None:
        _require_device(model)

    from .prompt_reference import prompt_fault
    from .reference import Reference, tokenizer_faults

    reference = Reference(checkpoint, kind=model.kind)
    tokenizer = ModelTokenizer(model.path)
    make_cases = embedding_cases if model.kind == "embedding" else reranker_cases
    cases = make_cases(tokenizer, max_tokens=min(max_tokens, reference.max_tokens))
    _check_vocabulary(cases, reference.vocabulary, checkpoint.name_or_path)
    differences = tokenizer_faults(tokenizer, checkpoint, kind=model.kind)
    prompts = (
        None if model.kind == "embedding" or differences is None else prompt_fault(model.path, checkpoint, tokenizer)
    )
    settings = reference.setting_faults(model)
    results = reference.compute(cases, tokenizer=tokenizer, progress=progress)
    expected = results.rows

    # The exported weights are loaded only now, after those of the reference were freed.
    with closing(runner or _local(model)) as runner:
        row_size = expected.shape[1]
        alone = _run_alone(runner, cases, row_size=row_size, source=checkpoint.name_or_path, progress=progress)
        together, batches, shared = _run_together(runner, cases, row_size=row_size, progress=progress)
    saturation = None
    if url is not None and model.precision == "int8":
        saturation = _saturation(model, cases, alone, expected, progress)
    comparisons = tuple(
        compare(case, *rows, kind=model.kind, bounds=bounds)
        for case, *rows in zip(cases, alone, expected, together, strict=True)
    )
    card = _card((model.source, checkpoint.name_or_path), cases, alone, bounds)
    # Faults that may explain the others come first.
    faults = [
        *settings,
        *results.faults,
        *(differences or ()),
        *([] if prompts is None else [prompts]),
        *([] if saturation is None else [saturation]),
    ]
    faults += [f"{c.name!r} ({c.tokens} tokens): {fault}" for c in comparisons for fault in c.faults]
    if shared == 0:
        faults.append("the server ran every text alone, so batches were not compared; let it batch (dynamic_batching)")
    if card is not None and card.fault is not None:
        faults.append(card.fault)
    notes = (
        []
        if differences is not None
        else [f"{checkpoint.name_or_path} holds no tokenizer; token ids were not compared"]
    )
    return Verdict(
        model=model,
        files=files,
        source=checkpoint.name_or_path,
        library=reference.library,
        comparisons=comparisons,
        batches=batches,
        shared=shared,
        card=card,
        faults=tuple(faults),
        notes=tuple(notes),
    )


def _require_device(model: ModelDirectory) -> None:
    from .onnx_runner import require_device

    require_device(model)


def _local(model: ModelDirectory) -> Runner:
    from .onnx_runner import OnnxRunner

    return OnnxRunner(model)


def _server(url: str, model: ModelDirectory) -> Runner:
    from .triton_runner import TritonRunner

    return TritonRunner(url, model)


def _check_vocabulary(cases: Sequence[Case], vocabulary: int, source: str) -> None:
    largest = max(int(case.ids.max()) for case in cases)
    if largest >= vocabulary:
        raise VerifyError(
            f"tokenizer.json gives the id {largest}, but {source} has only {vocabulary} tokens: "
            "they do not belong together; correct --source, or export the model again"
        )


def _run_alone(runner: Runner, cases: Sequence[Case], *, row_size: int, source: str, progress: Progress) -> list[Rows]:
    rows = []
    with progress("alone", total=sum(case.ids.size for case in cases), unit="tok") as advance:
        for case in cases:
            result = runner.alone(case.ids)
            if result.shape != (1, row_size):
                raise VerifyError(
                    f"the model's result for one text has the shape {list(result.shape)}, but that of {source} has the "
                    f"shape {[1, row_size]}: it is another model; correct --source"
                )
            rows.append(result[0])
            advance(case.ids.size)
    return rows


def _run_together(
    runner: Runner, cases: Sequence[Case], *, row_size: int, progress: Progress
) -> tuple[list[Rows], int, int]:
    """Run every case in a mixed batch.

    Returns:
        The row of each case, the number of batches, and the number of texts that shared a batch.
    """
    rows: list[Rows] = [np.full(row_size, np.nan, np.float32)] * len(cases)
    batches = mixed_batches([case.ids.size for case in cases])
    shared = 0
    total = sum(cases[index].ids.size for batch in batches for index in batch)
    with progress("in batches", total=total, unit="tok") as advance:
        for batch in batches:
            result = runner.together([cases[index].ids for index in batch])
            if result.rows.shape != (len(batch), row_size):
                raise VerifyError(
                    f"the model's result for a batch of {len(batch)} texts has the shape {list(result.rows.shape)} "
                    f"instead of {[len(batch), row_size]}; export the model again"
                )
            for index, row in zip(batch, result.rows, strict=True):
                rows[index] = row
            shared += result.shared
            advance(sum(cases[index].ids.size for index in batch))
    return rows, len(batches), min(shared, len(cases))


def _saturation(
    model: ModelDirectory, cases: Sequence[Case], server: Sequence[Rows], reference: Rows, progress: Progress
) -> str | None:
    """Run the shorter texts on this machine too, where int8 sums are exact, and compare the errors."""
    chosen = [index for index, case in enumerate(cases) if case.ids.size <= LONGEST]
    with closing(_local(model)) as runner, progress("here", total=len(chosen), unit="text") as advance:
        here = []
        for index in chosen:
            here.append(runner.alone(cases[index].ids)[0])
            advance(1)
    return saturation_fault([server[i] for i in chosen], here, [reference[i] for i in chosen], model.kind)


def _card(sources: tuple[str, str], cases: Sequence[Case], rows: Sequence[Rows], bounds: Bounds) -> CardReport | None:
    source = published(*sources)
    if source is None:
        return None
    return compare_with_card(
        source, {case.name: row for case, row in zip(cases, rows, strict=True) if case.whole}, bounds=bounds
    )
