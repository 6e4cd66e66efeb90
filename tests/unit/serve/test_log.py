"""What the log of a start that failed says, whenever it is read."""

import pytest
from qwen3_serve.triton.log import Log

# As Triton 2.51 writes them.
LOADING = 'I1126 17:02:38.250107 9331 model_lifecycle.cc:472] "loading: qwen3_embedding:1"'
HOST = "no room here"
UNHEALTHY = (
    "E1126 17:02:39.030731 9331 model_lifecycle.cc:642] \"failed to load 'qwen3_embedding' version 1: Internal: "
    "Stub process 'qwen3_embedding_0_0' is not healthy.\""
)
RAISED = UNHEALTHY.replace("Stub process 'qwen3_embedding_0_0' is not healthy.", "RuntimeError: not today")
AFTER = [
    "I1126 17:02:39.030781 9331 model_lifecycle.cc:777] \"failed to load 'qwen3_embedding'\"",
    "+-----------------+---------+---------+",
    "| qwen3_embedding | 1       | UNAVAILABLE |",
]
ERROR = (
    "error: creating server: Invalid argument - load failed for model 'qwen3_embedding': version 1 is at UNAVAILABLE "
    "state: Internal: Stub process 'qwen3_embedding_0_0' is not healthy.;"
)
LINES = [LOADING, HOST, UNHEALTHY, *AFTER, ERROR]


def log_of(*lines: str) -> Log:
    log = Log()
    for line in lines:
        log.add(line)
    return log


def test_the_attention_of_each_model_is_known() -> None:
    known = 'I1126 20:39:59.652466 24958 triton_model.py:65] "attention of qwen3_embedding: ragged, AVX-512"'
    log = log_of(LOADING, known, *["another line"] * 1000)
    assert log.attention_of("qwen3_embedding") == "ragged, AVX-512"
    assert log.attention_of("qwen3_reranker") is None


@pytest.mark.parametrize("count", range(2, len(LINES) + 1))
def test_of_a_host_that_ended_only_its_own_words_count(count: int) -> None:
    """However far Triton has come in saying that the host is not healthy."""
    log = log_of(*LINES[:count])
    assert log.failure() is None
    assert log.host_output() == HOST
    assert log.misses_a_host == (count > 2)


def test_a_host_that_said_why_it_fails_is_quoted() -> None:
    failed = log_of(LOADING, RAISED, *AFTER)
    assert failed.failure() == "failed to load 'qwen3_embedding' version 1: Internal: RuntimeError: not today"
    assert not failed.misses_a_host
    ended = log_of(LOADING, RAISED, *AFTER, "error: creating server: not today")
    assert ended.failure() == "creating server: not today"
