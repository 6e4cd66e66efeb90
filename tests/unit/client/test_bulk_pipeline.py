"""Blocks through the pipeline: order, overlap, bounds, and what a failure says.

The embedder stands in for a client and its server, so that a test can say when an answer comes.
"""

import threading
import tracemalloc
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from qwen3_client import Client, InferenceError, InvalidInputError, Qwen3ClientError
from qwen3_client.bulk.corpus import Block, Corpus
from qwen3_client.bulk.output import BulkOutput
from qwen3_client.bulk.parts import open_parts
from qwen3_client.bulk.pipeline import EmbeddedBlock, Keeper, TokenEmbedder, embed_blocks
from qwen3_client.bulk.unfinished import UnfinishedBlocks
from qwen3_client.cuts import CutCounter
from qwen3_client.options import Kind, Truncate

DIMENSIONS = 32
Ids = NDArray[np.int64]


class Embedder:
    """A token for each byte, and a vector for each sequence of tokens."""

    def __init__(self) -> None:
        self.tokenized: list[list[str]] = []
        self.count = 0
        self.calls: list[list[int]] = []
        self.before_answer: Callable[[Sequence[Ids]], object] = lambda _: None

    def tokenize(
        self,
        texts: Sequence[str],
        *,
        kind: str = "document",
        instruction: str | None = None,
        truncate: Truncate = True,  # noqa: ARG002
    ) -> list[Ids]:
        self.tokenized.append(list(texts))
        self.count += len(texts)
        prefix = "" if kind == "document" else f"{instruction}:"
        return [np.frombuffer(f"{prefix}{text}".encode(), np.uint8).astype(np.int64) for text in texts]

    def encode_tokens(self, input_ids: Sequence[Ids], *, dimensions: int | None = None) -> NDArray[np.float32]:
        self.calls.append([len(ids) for ids in input_ids])
        self.before_answer(input_ids)
        return np.stack([vector(ids)[:dimensions] for ids in input_ids])


def vector(ids: Ids) -> NDArray[np.float32]:
    numbers: NDArray[np.float32] = np.cos(zlib.crc32(ids.tobytes()) * np.arange(1.0, DIMENSIONS + 1)).astype(np.float32)
    return numbers


def blocks_of(texts: Sequence[str], size: int) -> list[Block]:
    """Blocks of a corpus in which every second row is empty."""
    blocks = []
    for start in range(0, len(texts), size):
        part = list(texts[start : start + size])
        rows = [2 * row for row in range(start, start + len(part))]
        blocks.append(
            Block(
                start=2 * start,
                stop=2 * (start + len(part)),
                rows=rows,
                texts=part,
                keys=pa.array(rows),
                begin=10 * start,
                end=10 * (start + len(part)),
            )
        )
    return blocks


class Kept:
    """A store of finished texts: what it held before, and what it was given."""

    def __init__(self, before: dict[int, NDArray[np.float32]] | None = None) -> None:
        self.before = before or {}
        self.given: list[int] = []  # rows of the corpus

    def restore(self, block: Block) -> dict[int, NDArray[np.float32]]:
        return {index: self.before[row] for index, row in enumerate(block.rows) if row in self.before}

    def keep(self, block: Block, indices: list[int], vectors: NDArray[np.float32]) -> None:
        assert len(indices) == len(vectors)
        self.given += [block.rows[index] for index in indices]

    def commit_if_due(self) -> None:
        pass


def begin(
    embedder: TokenEmbedder,
    blocks: Iterable[Block],
    *,
    kind: Kind = "document",
    instruction: str | None = None,
    dimensions: int | None = None,
    keeper: Keeper | None = None,
    advance: Callable[[float, int, int], object] | None = None,
) -> Generator[EmbeddedBlock, None, None]:
    return embed_blocks(
        embedder,
        blocks,
        kind=kind,
        instruction=instruction,
        dimensions=dimensions,
        truncate=True,
        cuts=CutCounter(),
        keeper=keeper or Kept(),
        advance=advance or (lambda *_: None),
    )


def run(
    embedder: TokenEmbedder,
    blocks: Iterable[Block],
    *,
    keeper: Keeper | None = None,
    advance: Callable[[float, int, int], object] | None = None,
) -> list[EmbeddedBlock]:
    return list(begin(embedder, blocks, keeper=keeper, advance=advance))


def test_a_client_is_an_embedder() -> None:
    client: TokenEmbedder = Client()  # mypy says whether it is
    assert isinstance(client, Client)
    client.close()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=40), st.integers(1, 10))
def test_every_text_gets_its_own_vector_and_its_own_place(texts: list[str], size: int) -> None:
    texts = [text.encode(errors="replace").decode() for text in texts]
    embedder, blocks = Embedder(), blocks_of(texts, size)
    done = run(embedder, blocks)
    assert [each.block for each in done] == blocks
    vectors = np.concatenate([each.vectors for each in done])
    np.testing.assert_array_equal(vectors, np.stack([vector(embedder.tokenize([text])[0]) for text in texts]))
    assert sum(each.tokens for each in done) == sum(len(text.encode()) for text in texts)


def test_options_reach_the_client() -> None:
    embedder = Embedder()
    (done,) = begin(embedder, blocks_of(["a"], 1), kind="query", instruction="Sort", dimensions=8)
    np.testing.assert_array_equal(done.vectors[0], vector(np.frombuffer(b"Sort:a", np.uint8).astype(np.int64))[:8])


def test_calls_are_small_and_the_longest_texts_go_first() -> None:
    embedder = Embedder()
    rng = np.random.default_rng(0)
    run(embedder, blocks_of(["x" * int(length) for length in [*rng.integers(1, 500, 1000), 3000]], 1001))
    assert [3000] in embedder.calls
    assert max(map(len, embedder.calls)) == 64
    assert max(sum(call) for call in embedder.calls if len(call) > 1) in range(1500, 2049)
    in_order = sorted(embedder.calls, key=max, reverse=True)
    lengths = [length for call in in_order for length in call]
    assert lengths == sorted(lengths, reverse=True)


def test_the_next_block_is_lined_up_before_the_present_one_is_done() -> None:
    embedder, next_is_tokenized = Embedder(), threading.Event()

    def wait(input_ids: Sequence[Ids]) -> None:
        if len(embedder.tokenized) > 1:
            next_is_tokenized.set()
        if input_ids[0][0] == ord("a"):  # the first block is not answered before
            deadline.append(next_is_tokenized.wait(60))

    deadline: list[bool] = []
    embedder.before_answer = wait
    done = run(embedder, blocks_of(["a", "b", "c"], 1))
    assert deadline == [True]
    assert [each.block.texts for each in done] == [["a"], ["b"], ["c"]]


def test_no_more_than_two_blocks_are_taken_ahead_of_what_is_done() -> None:
    taken = 0

    def blocks() -> Iterator[Block]:
        nonlocal taken
        for block in blocks_of([str(number) for number in range(100)], 5):
            taken += 1
            yield block

    ahead = []
    for done, _ in enumerate(begin(Embedder(), blocks()), start=1):
        ahead.append(taken - done)
    assert len(ahead) == 20
    assert max(ahead) == 1


def test_progress_adds_up() -> None:
    told: list[tuple[float, int, int]] = []
    texts = ["x" * length for length in range(1, 601)]
    run(Embedder(), blocks_of(texts, 300), advance=lambda *done: told.append(done))
    units, count, tokens = (sum(column) for column in zip(*told, strict=True))
    assert (round(units), count, tokens) == (6000, 600, sum(map(len, texts)))
    # The long texts of a block are the larger part of it, though they are few.
    assert all(done[0] / done[1] > 10 for done in told if done[2] / done[1] > 450)


@pytest.mark.parametrize("index", [None, 3])
def test_a_failure_names_the_row(index: int | None) -> None:
    embedder = Embedder()
    texts = ["ccc", "b", "aaaaa", "bb", "dddd", "e"]

    def fail(_: Sequence[Ids]) -> None:
        raise InferenceError("no good", index=index)

    embedder.before_answer = fail
    with pytest.raises(InferenceError) as caught:
        run(embedder, blocks_of(texts, 6))
    # Longest first, the fourth is "bb", whose row is twice its index, as every second row is empty.
    assert str(caught.value) == ("no good" if index is None else "row 6: no good")


def test_a_text_that_cannot_be_tokenized_is_named_by_its_row() -> None:
    class Refusing(Embedder):
        def tokenize(self, texts: Sequence[str], **_: object) -> list[Ids]:  # noqa: ARG002
            raise InvalidInputError("too long", index=1)

    with pytest.raises(InvalidInputError, match=r"^row 2: too long$"):
        run(Refusing(), blocks_of(["a", "b", "c"], 3))


def test_after_a_failure_nothing_more_is_sent() -> None:
    embedder, release = Embedder(), threading.Event()

    def fail(input_ids: Sequence[Ids]) -> None:
        if len(input_ids[0]) == 3000:
            raise Qwen3ClientError("gone")
        release.wait(60)

    embedder.before_answer = fail
    with pytest.raises(Qwen3ClientError, match="gone"):
        run(embedder, blocks_of(["x" * length for length in range(3000, 0, -1)], 3000))
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("qwen3-bulk"):
            thread.join(60)
    # Of thousands: one that failed, and those that the threads had taken by then.
    assert len(embedder.calls) <= 2 * 16


def test_memory_is_that_of_a_few_blocks(tmp_path: Path) -> None:
    rows, block_rows = 20_000, 256
    path = tmp_path / "c.txt"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{number} " + "x" * 400 + "\n" for number in range(rows))
    corpus = Corpus(path, text_column="text", id_column=None, block_rows=block_rows, skips_empty=False)
    embedder = Embedder()
    held: list[int] = []
    with open_parts(tmp_path / "x.npy.parts", job={}) as parts:
        output = BulkOutput(
            tmp_path / "x.npy",
            parts,
            key=pa.field("row", pa.int64()),
            dtype="float32",
            dimensions=DIMENSIONS,
            calibration=None,
            about={},
            arithmetic=None,
        )
        embedder.before_answer = lambda _: held.append(embedder.count - parts.next_row)
        unfinished = UnfinishedBlocks(parts)
        embedded = begin(embedder, corpus.blocks(), keeper=unfinished)
        tracemalloc.start()
        try:
            for done in embedded:
                output.add(done.block.keys, done.vectors, stop=done.block.stop, cuts=done.cuts)
                unfinished.finished(done.block)
                embedder.tokenized.clear()  # the test's own memory
            assert output.finish() == rows
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert max(held) <= 3 * block_rows
    # The corpus has 8 MB, its token ids 64; a block's ids are 0.8 MB.
    assert peak < 6_000_000
    vectors = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert vectors.shape == (rows, DIMENSIONS)
    for row in (0, 255, 256, rows - 1):
        text = f"{row} " + "x" * 400
        np.testing.assert_array_equal(vectors[row], vector(embedder.tokenize([text])[0]))


def test_calls_overlap() -> None:
    embedder, both = Embedder(), threading.Barrier(2, timeout=60)
    embedder.before_answer = lambda _: both.wait()
    run(embedder, blocks_of(["x"] * 128, 128))
    assert [len(call) for call in embedder.calls] == [64, 64]


def test_what_was_kept_is_not_embedded_again_and_what_is_finished_is_kept() -> None:
    texts = [f"{number} " + "x" * (number % 50) for number in range(200)]
    whole = run(Embedder(), blocks_of(texts, 100))
    before = {row: each.vectors[index] for each in whole for index, row in enumerate(each.block.rows) if row % 3}
    embedder, keeper = Embedder(), Kept(before)
    told: list[tuple[float, int, int]] = []
    again = run(embedder, blocks_of(texts, 100), keeper=keeper, advance=lambda *done: told.append(done))
    assert sorted(keeper.given) == sorted({2 * row for row in range(200)} - before.keys())
    assert sum(map(len, embedder.calls)) == len(keeper.given) == sum(count for _, count, _ in told)
    assert round(sum(units for units, _, _ in told)) == 2000
    for one, other in zip(whole, again, strict=True):
        np.testing.assert_array_equal(one.vectors, other.vectors)


def test_what_is_finished_when_it_fails_is_kept() -> None:
    all_short_ones = threading.Event()

    class Telling(Kept):
        def keep(self, block: Block, indices: list[int], vectors: NDArray[np.float32]) -> None:
            super().keep(block, indices, vectors)
            if len(self.given) == 300:
                all_short_ones.set()

    def fail(input_ids: Sequence[Ids]) -> None:
        if len(input_ids[0]) == 2048:  # those that go first, each in a call of its own
            assert all_short_ones.wait(60)
            raise InferenceError("gone")

    embedder, keeper = Embedder(), Telling()
    embedder.before_answer = fail
    with pytest.raises(InferenceError, match="gone"):
        run(embedder, blocks_of(["x" * 2048] * 5 + ["y"] * 300, 305), keeper=keeper)
    assert sorted(keeper.given) == [2 * row for row in range(5, 305)]
