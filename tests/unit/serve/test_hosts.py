"""The watch over hosts, without a Triton: what counts as killed."""

import os
import subprocess
import sys
import threading

import pytest
from qwen3_serve.triton.hosts import Host, HostWatch

HOST = Host(model="qwen3_embedding", version="1")


@pytest.fixture
def ended() -> int:
    """The process id of a host that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_triton_that_is_too_busy_to_say_what_it_serves_is_asked_again(
    ended: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("qwen3_serve.triton.hosts._POLL_S", 0.01)
    answers = iter([None, None, True])
    is_over = threading.Event()
    watch = HostWatch(os.getpid(), loaded={HOST: ended}, is_wanted=lambda _: next(answers), end=is_over.set)
    try:
        assert is_over.wait(60)
    finally:
        watch.stop()
    assert "the process of qwen3_embedding, version 1, was killed" in capsys.readouterr().err


def test_a_host_whose_version_was_unloaded_is_asked_about_once(ended: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_serve.triton.hosts._POLL_S", 0.01)
    asked: list[Host] = []
    other = Host(model="qwen3_reranker", version="1")
    is_asked_again, is_over = threading.Event(), threading.Event()

    def is_wanted(host: Host) -> bool | None:
        asked.append(host)
        if asked.count(other) == 3:
            is_asked_again.set()
        return False if host == HOST else None

    watch = HostWatch(os.getpid(), loaded={HOST: ended, other: ended}, is_wanted=is_wanted, end=is_over.set)
    try:
        assert is_asked_again.wait(60)
    finally:
        watch.stop()
    assert asked.count(HOST) == 1
    assert not is_over.is_set()
