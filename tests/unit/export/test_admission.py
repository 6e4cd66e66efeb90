"""The graph itself refuses a bad text, alone: its result is NaN and its neighbours keep their bits."""

from pathlib import Path

import numpy as np
import pytest
from qwen3_export import export
from qwen3_export.cpu import is_ragged
from support.oracle import random_texts
from support.packed import PackedSession

MAX_TOKENS, VOCABULARY = 2048, 260

BAD = {
    "empty": np.zeros(0, np.int64),
    "one token too long": np.zeros(MAX_TOKENS + 1, np.int64),
    "far too long": np.zeros(100_000, np.int64),
    "negative": np.array([1, 2, -1, 3]),
    "first id outside the vocabulary": np.array([VOCABULARY, 1]),
    "last id outside the vocabulary": np.array([1, VOCABULARY]),
    "huge": np.array([np.iinfo(np.int64).max, np.iinfo(np.int64).min]),
}


@pytest.fixture(scope="module", params=["embedding", "reranker"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export("tiny", repository=tmp_path_factory.mktemp("repository"), kind=request.param).directory


@pytest.fixture(scope="module", params=["ragged", "padded"])
def session(request: pytest.FixtureRequest, directory: Path) -> PackedSession:
    session = PackedSession(directory, portable=request.param == "padded")
    assert is_ragged(session.session) == (request.param == "ragged")
    return session


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_31_good_texts_keep_their_bits_beside_a_bad_one(session: PackedSession, bad: np.ndarray, where: str) -> None:  # type: ignore[type-arg]
    good = random_texts([1, 257, *range(2, 31)])
    alone = [session.run([ids]) for ids in good]
    at = {"first": 0, "middle": 15, "last": 31}[where]
    batch = session.run([*good[:at], bad, *good[at:]])
    for name, rows in batch.items():
        assert np.isnan(rows[at]).all()
        expected = np.concatenate([result[name] for result in alone])
        np.testing.assert_array_equal(np.delete(rows, at, axis=0), expected)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_text_alone_or_among_its_like_is_nan(session: PackedSession, bad: np.ndarray) -> None:  # type: ignore[type-arg]
    for batch in ([bad], [bad] * 3, [BAD["empty"], bad]):
        for rows in session.run(batch).values():
            assert rows.shape[0] == len(batch)
            assert np.isnan(rows).all()


def test_the_longest_text_is_admitted(session: PackedSession) -> None:
    (longest,) = random_texts([MAX_TOKENS])
    for rows in session.run([longest]).values():
        assert np.isfinite(rows).all()


def test_every_id_of_the_vocabulary_is_admitted(session: PackedSession, tmp_path: Path) -> None:  # noqa: ARG001
    for rows in session.run([np.arange(VOCABULARY)]).values():
        assert np.isfinite(rows).all()
