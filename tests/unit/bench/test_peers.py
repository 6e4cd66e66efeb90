"""The comparison with peers: its texts, its statistics, its page, and its protocol with the real engine in process."""

import json
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qwen3_client.prompts import query_prompt
from qwen3_export import export
from qwen3_export.packed_directory import DEFAULT_INSTRUCTION
from support.qwen_tokenizer import build_qwen_tokenizer
from tokenizers import Tokenizer

from bench.peers.contenders import CONTENDERS, ENVIRONMENTS, QUICK, Folders
from bench.peers.plots import plot
from bench.peers.process import Worker, WorkerFailedError
from bench.peers.published import Published, kind_of, load_all, publish, with_earlier_remarks
from bench.peers.report import page, write_document
from bench.peers.results import Arrivals, Results, Sample, Spread, arrival_times, percentile_ms, smallest_cosine
from bench.peers.workers.padding import by_length, last_token, padded
from bench.peers.workers.protocol import Local, Vectors
from bench.peers.workers.protocol import Text as WorkerText
from bench.peers.workloads import INSTRUCTION, PROBE, WORKLOADS, Text, Workload, Writer

PYTHON = Path(sys.executable)


@pytest.fixture(scope="module")
def writer() -> Writer:
    return Writer(build_qwen_tokenizer())


@pytest.fixture
def results() -> Results:
    """Two rounds, recorded by hand: int8 served is three times as fast as sentence-transformers bf16."""

    def sample(number: int, contender: str, workload: str, width: int, tokens: int, seconds: list[float]) -> Sample:
        return Sample(number, contender, workload, width, tokens, seconds, 2 * sum(seconds), 2**30, 0.01, 1.0)

    recorded = Results(kind="avx2", machine={"processor": "some processor", "cores": "2"}, rounds=2, load_average=0.25)
    for number, slower in enumerate((1.0, 1.25)):
        recorded.samples += [
            sample(number, "qwen3-triton-int8", "mixed", 32, 2900, [5 * slower]),
            sample(number, "qwen3-triton-int8-served", "mixed", 1, 2900, [10 * slower]),
            sample(number, "qwen3-triton-int8-served", "mixed", 32, 2900, [5.1 * slower]),
            sample(number, "sentence-transformers-bf16", "mixed", 8, 2900, [15.3 * slower]),
            sample(number, "qwen3-triton-int8", "query", 1, 192, [0.040, 0.050, 0.045]),
            sample(number, "qwen3-triton-int8-served", "query", 1, 192, [0.050, 0.051, 0.052]),
            sample(number, "qwen3-triton-int8-served", "512", 32, 2048, [4.0]),
        ]
    recorded.ceilings = [
        {"int8 onnxruntime": 1000.0, "int8 torch": "RuntimeError: a | b"},
        {"int8 onnxruntime": 1048.0},
    ]
    recorded.arrivals = [Arrivals("qwen3-triton-int8-served", "short", 0.3, 6.0, [0.05] * 9 + [0.5], 0.01, 1.0)]
    recorded.versions = {"sentence-transformers-bf16": {"torch": "2.13.0"}}
    recorded.load_s = {"sentence-transformers-bf16": 3.25}
    recorded.cosines = {"sentence-transformers-bf16": 0.5}
    recorded.widths = {"sentence-transformers-bf16": {"short": 16, "mixed": 8}}
    recorded.not_run = {"infinity": "pip failed: no such version", "fastembed/8192": "took longer than 180 s"}
    return recorded


@pytest.mark.parametrize("workload", [*WORKLOADS, PROBE], ids=lambda workload: str(workload.name))
def test_texts_have_the_promised_lengths_and_survive_tokenizing(workload: Workload, writer: Writer) -> None:
    lengths, instructed = workload.lengths, workload.instructed
    texts = writer.write(lengths, instructed=instructed, seed=3)
    assert [len(text.ids) for text in texts] == list(lengths)
    assert all(text.text == text.text.strip() and text.ids[-1] == 151_643 for text in texts)
    assert all(text.text.startswith(INSTRUCTION) == instructed for text in texts)
    assert texts == writer.write(lengths, instructed=instructed, seed=3)
    assert texts != writer.write(lengths, instructed=instructed, seed=4)


def test_the_instruction_is_the_clients(writer: Writer) -> None:
    assert query_prompt("x", instruction=DEFAULT_INSTRUCTION) == INSTRUCTION + "x"
    ids = [text.ids[:19] for text in writer.write([24, 28], instructed=True)]
    assert ids[0] == ids[1]


def test_workloads_are_what_they_say() -> None:
    by_name = {workload.name: workload for workload in WORKLOADS}
    assert (min(by_name["short"].lengths), max(by_name["short"].lengths)) == (8, 32)
    assert (min(by_name["mixed"].lengths), max(by_name["mixed"].lengths)) == (8, 256)
    assert set(by_name["query"].lengths) == {16}
    assert WORKLOADS[-1].apart, "the one that may be killed must come last"


def test_a_tokenizer_of_another_vocabulary_is_noticed() -> None:
    words = {"ab": 0, "cd": 1, " ef": 2}
    from tokenizers.models import WordLevel

    with pytest.raises(ValueError, match="genuine tokenizer"):
        Writer(Tokenizer(WordLevel(words, unk_token="ab"))).write([5])  # noqa: S106 - no password


def test_every_contender_has_a_worker_and_an_environment() -> None:
    names = [contender.name for contender in CONTENDERS]
    assert len(set(names)) == len(names)
    assert set(QUICK) <= set(names)
    workers = Path(__file__).parents[3] / "bench" / "peers" / "workers"
    environments = {environment.name for environment in ENVIRONMENTS}
    for contender in CONTENDERS:
        assert (workers / f"{contender.worker}.py").exists()
        assert contender.environment is None or contender.environment in environments
        assert contender.served_from is None or contender.served_from in names
        options = Folders(Path("/work")).fill(contender.options)
        assert "{" not in json.dumps(list(options.values()))
    for environment in ENVIRONMENTS:
        assert all("==" in package for package in environment.packages), "versions must be pinned"


def test_medians_ratios_and_ceilings(results: Results) -> None:
    served, peer = "qwen3-triton-int8-served", "sentence-transformers-bf16"
    assert results.figure("qwen3-triton-int8", "mixed") == Spread(522.0, 464.0, 580.0, 2)
    assert results.figure(served, "mixed", 1) == Spread(261.0, 232.0, 290.0, 2)
    assert results.figure("qwen3-triton-int8", "short") is None
    query = results.figure("qwen3-triton-int8", "query")
    assert query is not None
    assert query.median == pytest.approx(45)
    gain = results.gain("query", "qwen3-triton-int8", served)
    assert gain is not None
    assert gain.median == pytest.approx(51 / 45)
    assert results.gain("mixed", served, "infinity") is None
    assert results.best("mixed", [peer, "qwen3-triton-int8", "infinity"]) == "qwen3-triton-int8"
    assert results.best("mixed", ["infinity"]) is None
    assert results.ceiling("int8") == ("onnxruntime", 1024.0)
    assert results.ceiling("fp32") is None


def test_a_ratio_is_of_the_same_round(results: Results) -> None:
    """In the second round everything took 1.25 times as long, which the ratio must not show."""
    gain = results.gain("mixed", "qwen3-triton-int8-served", "sentence-transformers-bf16")
    assert gain is not None
    assert (gain.smallest, gain.median, gain.largest) == pytest.approx((3, 3, 3))
    assert gain.count == 2


def test_samples_under_foreign_load_count_nowhere(results: Results) -> None:
    quiet = publish(results)
    others = [
        replace(sample, foreign=results.foreign_limit + 0.01, seconds=[9 * s for s in sample.seconds])
        for sample in results.samples
    ]
    results.samples += others
    results.arrivals += [replace(results.arrivals[0], foreign=0.5, latencies=[9.0])]
    loaded = publish(results)
    assert (loaded.figures, loaded.ratios, loaded.clients, loaded.loads, loaded.conditions["rounds"]) == (
        quiet.figures,
        quiet.ratios,
        quiet.clients,
        quiet.loads,
        "2",
    )
    assert loaded.conditions["samples thrown away"].startswith(f"{len(others)} of {2 * len(others)}, because")
    results.samples = others
    assert not publish(results).figures


@pytest.mark.parametrize("speed", [0.89, 1.11])
def test_samples_on_cores_of_unusual_speed_count_nowhere(results: Results, speed: float) -> None:
    assert results.usual_core_speed == 1.0
    quiet = publish(results)
    # Fewer than those of usual speed, so that the median stays.
    others = [
        replace(sample, core_speed=speed, seconds=[s / speed**9 for s in sample.seconds])
        for sample in results.samples[1:]
    ]
    results.samples += others
    disturbed = publish(results)
    assert (disturbed.figures, disturbed.ratios) == (quiet.figures, quiet.ratios)
    assert disturbed.conditions["samples thrown away"].startswith(f"{len(others)} of {len(results.samples)}, because")
    results.core_speed_range = math.inf  # as for `quick`
    assert publish(results).figures != quiet.figures


def test_rounds_end_once_figures_are_steady(results: Results) -> None:
    assert results.unsteady() == (4, 7), "all of the mixed texts, which differ by a quarter"
    steady = [sample for sample in results.samples if sample.workload != "mixed"]
    results.samples = steady
    assert results.unsteady() == (0, 3)
    results.samples = [*steady, *(replace(sample, foreign=0.5) for sample in steady)]
    assert results.unsteady() == (0, 3)
    results.samples = [sample for sample in steady if sample.round == 0]
    assert results.unsteady() == (3, 3), "a single round shows no spread"


@pytest.mark.parametrize(
    ("sets", "kind"),
    [
        (("AVX2",), "avx2"),
        (("AVX2", "AVX-VNNI"), "avx-vnni"),
        (("AVX2", "AVX-512"), "avx512"),
        (("AVX2", "AVX-512", "AVX-512 VNNI"), "avx512-vnni"),
        (("AVX2", "AVX-VNNI", "AVX-512", "AVX-512 VNNI", "AMX"), "amx"),
        (("NEON", "NEON dot product", "NEON int8"), "neon-int8"),
        ((), "other"),
    ],
)
def test_kinds_of_processors(sets: tuple[str, ...], kind: str) -> None:
    assert kind_of(sets) == kind


def test_a_run_replaces_the_figures_of_its_own_kind_only(results: Results, tmp_path: Path) -> None:
    first = publish(results)
    other = replace(first, kind="amx", remarks=["Measured elsewhere."])
    first.save(tmp_path)
    other.save(tmp_path)
    newer = replace(first, not_run={})
    newer.save(tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["amx.json", "avx2.json"]
    amx, avx2 = load_all(tmp_path)
    assert (amx.remarks, amx.not_run) == (other.remarks, other.not_run)
    assert avx2.not_run == {}
    assert avx2.figures["mixed"]["qwen3-triton-int8"] == Spread(522.0, 464.0, 580.0, 2)
    assert Published.load(amx.save(tmp_path)) == amx


def test_remarks_stay_with_the_run_that_they_are_about(results: Results, tmp_path: Path) -> None:
    published = publish(results)
    assert with_earlier_remarks(published, tmp_path).remarks == []
    replace(published, kind="other", remarks=["Of another processor."]).save(tmp_path)
    replace(published, remarks=["One core only."]).save(tmp_path)
    assert with_earlier_remarks(published, tmp_path).remarks == ["One core only."]
    later = replace(published, machine={**published.machine, "date": "2030-01-01"})
    assert with_earlier_remarks(later, tmp_path).remarks == []


def test_the_page_says_what_was_measured_and_what_was_not(results: Results) -> None:
    lines = page([publish(results)]).splitlines()
    assert "| processor | some processor |" in lines
    assert "| load average before the run | 0.25 |" in lines
    assert (
        "| samples thrown away | 0 of 14, because others took more than 5% or the speed of the cores was more "
        "than 10% from the median |"
    ) in lines
    assert "| mixed | 3.00 (3.00 to 3.00), sentence-transformers bf16 |" in lines
    assert any(line.startswith("| qwen3-triton int8, in process | 522 (464 to 580) |") for line in lines)
    assert "| int8 | torch | RuntimeError: a \\| b |" in lines
    assert "| qwen3-triton int8, through Triton | short | 30% | 6.0 | 50 ms | 95 ms | 460 ms |" in lines
    assert any(
        line.startswith("| sentence-transformers bf16 | 0.50000 (!) | 16, 8 | 1.0 GiB | 3.2 s |") for line in lines
    )
    assert "| infinity bf16 | pip failed: no such version |" in lines
    assert "| `fastembed/8192` | took longer than 180 s |" in lines
    assert page([publish(Results())]), "an interrupted run has a page too"


def test_the_page_shows_kinds_side_by_side(results: Results) -> None:
    avx2 = publish(results)
    amx = replace(avx2, kind="amx", figures={"mixed": {"qwen3-triton-int8": Spread(900.0, 850.0, 950.0, 2)}}, ratios={})
    lines = page([amx, avx2]).splitlines()
    assert "| qwen3-triton int8, in process | 900 (850 to 950) |  | 522 (464 to 580) |  |" in lines
    assert "| sentence-transformers bf16 |  |  | 171 (152 to 190) | 3.00 (3.00 to 3.00) |" in lines
    assert {"## Details of amx", "## Details of avx2"} <= set(lines)


def test_every_published_ratio_has_its_spread(results: Results) -> None:
    found = publish(results)
    tables = [*found.ratios.values(), *found.costs.values(), *found.shares.values()]
    spreads = [spread for table in tables for spread in table.values()]
    assert spreads
    assert all(spread.smallest <= spread.median <= spread.largest and spread.count == 2 for spread in spreads)


def test_the_published_files_can_be_read_and_their_ratios_lie_within_their_spread() -> None:
    folder = Path(__file__).parents[3] / "docs" / "benchmarks"
    kinds = load_all(folder)
    assert [found.kind for found in kinds] == [path.stem for path in sorted(folder.glob("*.json"))]
    assert kinds
    spreads = [spread for found in kinds for row in found.ratios.values() for spread in row.values()]
    assert spreads
    assert all(spread.smallest <= spread.median <= spread.largest for spread in spreads)
    assert all(spread.smallest < spread.largest for spread in spreads if spread.count > 1)


def test_the_document_keeps_its_hand_written_text(results: Results, tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text("before\n<!-- written by make bench -->\nold\n<!-- end of what make bench wrote -->\nafter\n")
    kinds, plots = [publish(results)], {"avx2": [tmp_path / "images" / "one.png"]}
    write_document(kinds, document, plots=plots)
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("-->\nafter\n")
    assert "![one](images/one.png)" in text
    assert "old" not in text
    write_document(kinds, document, plots=plots)
    assert document.read_text() == text
    (tmp_path / "other.md").write_text("no marks")
    with pytest.raises(ValueError, match="needs the lines"):
        write_document(kinds, tmp_path / "other.md", plots={})


def test_results_survive_the_disk(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == results
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_plots_are_written(results: Results, tmp_path: Path) -> None:
    assert all(path.stat().st_size > 10_000 for path in plot(publish(results), tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"throughput-avx2.png", "latency-avx2.png"}


def test_arrivals_are_poisson_and_the_same_every_time() -> None:
    at_s = arrival_times(4.0, 4000, seed=1)
    gaps = np.diff(at_s)
    assert at_s[0] == 0
    assert at_s == arrival_times(4.0, 4000, seed=1)
    assert gaps.mean() == pytest.approx(0.25, rel=0.1)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)  # of exponential gaps
    assert percentile_ms([0.1, 0.2, 0.3], 50) == pytest.approx(200)


def test_the_cosine_is_of_the_worst_text() -> None:
    assert smallest_cosine([[2, 0], [0.6, 0.8]], [[1, 0], [0.8, 0.6]]) == pytest.approx(0.96)


def test_padding_leads_each_text_to_its_own_row() -> None:
    texts = [WorkerText("", ids) for ids in ([1], [2, 3, 4], [5, 6], [7, 8, 9, 10])]
    taken: list[int] = []

    def run(batch: list[WorkerText]) -> Vectors:
        taken.append(len(batch))
        ids, mask = padded(batch)
        return last_token(np.stack([ids, np.ones_like(ids)], axis=2).astype(np.float32), mask)

    rows = by_length(texts, 3, run)  # type: ignore[arg-type]
    assert taken == [3, 1]
    assert (rows[:, 0] / rows[:, 1]).round(3).tolist() == [1, 4, 6, 10]


def test_a_queue_takes_what_has_arrived_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 5.0

        def perf_counter(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    class Recording(Local):
        def __init__(self) -> None:
            self.batches: list[int] = []

        def embed(self, texts: object, *, width: int) -> Vectors:  # noqa: ARG002
            self.batches.append(len(texts))  # type: ignore[arg-type]
            clock.sleep(0.125)
            return np.ones((1, 1), np.float32)

    clock, engine = Clock(), Recording()
    monkeypatch.setattr("bench.peers.workers.protocol.time", clock)
    latencies = engine.arrivals([0, 0, 0, 0.5], [WorkerText("", [1])] * 4, width=2)
    assert engine.batches == [2, 1, 1]
    assert latencies == [0.125, 0.125, 0.25, 0.125]


def test_the_real_engine_speaks_the_protocol(tmp_path: Path) -> None:
    export("tiny", repository=tmp_path, name="fp32")
    texts = [Text("", [*range(1, n), 256]) for n in (3, 40, 7)]
    with Worker("embedded", python=PYTHON, log=tmp_path / "log") as worker:
        loaded = worker.do("load", options={"directory": str(tmp_path / "fp32"), "threads": 1})
        assert set(loaded["versions"]) == {"onnxruntime"}
        together = np.array(worker.vectors(texts, width=32))
        alone = np.concatenate([worker.vectors([text], width=1) for text in texts])
        assert np.array_equal(together, alone)
        assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
        measured = worker.measure([texts, texts[:1]], width=32, warm_up=[texts[:1]], timeout_s=60)
        assert len(measured["seconds"]) == 2
        assert min(measured["seconds"]) > 0
        assert measured["peak_memory"] > 2**20
        assert measured["processor_s"] >= 0
        assert 0 <= measured["foreign"] <= 1
        arrived = worker.arrivals([0, 0.01, 0.02], texts, width=2, timeout_s=60)
        assert len(arrived["latencies"]) == 3
        assert 0 <= arrived["foreign"] <= 1
        with pytest.raises(WorkerFailedError, match="unknown command 'dance'"):
            worker.do("dance")
        assert len(worker.vectors(texts, width=1)) == 3, "an error must not end it"
        with pytest.raises(WorkerFailedError, match="took longer than 0 s"):
            worker.measure([texts * 50], width=1, warm_up=[], timeout_s=0)
        process = worker.pid
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_worker_that_ends_says_why(tmp_path: Path) -> None:
    with (
        Worker("no_such_worker", python=PYTHON, log=tmp_path / "log") as worker,
        pytest.raises(WorkerFailedError, match=r"ended with code 1: .*no_such_worker"),
    ):
        worker.do("load", options={})
