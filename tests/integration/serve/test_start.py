"""Starts that fail or take long: noticed at once, with a reason, and never without a word."""

import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from qwen3_export import export
from qwen3_serve import ServeError, Triton
from qwen3_serve.triton.hosts import hosts
from support.hosts import host_that, replace_host


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (
            "print('no room here', file=sys.stderr, flush=True); os._exit(3)",
            "process.* ended while.*: no room here",
        ),
        ("os.abort()", "out of memory"),
        ("raise RuntimeError('not today')", "load failed for model 'qwen3_embedding'.*not today"),
    ],
)
def test_a_host_that_ends_while_loading_ends_the_start(tmp_path: Path, does: str, reason: str) -> None:
    replace_host(export("tiny", repository=tmp_path).directory, host_that(does))
    with pytest.raises(ServeError, match=f"(?s){reason}"):
        Triton(tmp_path, ready_timeout_s=120).__enter__()


def test_a_host_that_is_killed_while_loading_ends_the_start(tmp_path: Path) -> None:
    replace_host(export("tiny", repository=tmp_path).directory, host_that("time.sleep(1000)"))
    triton = Triton(tmp_path, ready_timeout_s=120)
    killed_at: list[float] = []

    def kill() -> None:
        while not killed_at:
            time.sleep(0.05)
            try:
                processes = list(hosts(triton.pid).values())
            except ServeError:  # it is not running yet
                continue
            for process in processes:
                killed_at.append(time.monotonic())
                os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    # Killed within the first moments, it ends before anybody has seen which model it runs.
    said = r"process(?: of qwen3_embedding)? ended while it was loading: .*out of memory"
    with pytest.raises(ServeError, match=said):
        triton.__enter__()
    killer.join()
    assert time.monotonic() - killed_at[0] < 30, "far from the time that loading may take"


def test_each_instance_of_a_model_has_its_own_host(tmp_path: Path) -> None:
    """The first instance is loaded, and still there, when the second one's process appears."""
    directory = export("tiny", repository=tmp_path).directory
    replace_host(directory, host_that("time.sleep(0.5)"))
    config = directory / "configs" / "embedded.pbtxt"
    one = config.read_text("utf-8")
    two = re.sub(r"(instance_group \{\s*count:) 1\b", r"\1 2", one)
    assert two != one
    config.write_text(two, "utf-8")
    # It came as far as the first answer, which this host gets wrong.
    with pytest.raises(ServeError, match="norm 1"):
        Triton(tmp_path, ready_timeout_s=120).__enter__()


def test_a_word_while_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_serve.triton.progress.INTERVAL_S", 0.05)
    is_told = tmp_path / "told"
    wait = f"while not os.path.exists({str(is_told)!r}): time.sleep(0.01)"
    replace_host(export("tiny", repository=tmp_path / "repository").directory, host_that(wait))
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        if re.fullmatch(r"still loading qwen3_embedding, \d+ s", line):
            is_told.touch()

    with pytest.raises(ServeError, match="norm 1"):
        Triton(tmp_path / "repository", report=report).__enter__()
    assert is_told.exists(), lines


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("np.zeros((TEXTS, 64), np.float32)", "norm 1, and has 0"),
        ("np.full((TEXTS, 64), np.nan, np.float32)", "finite"),
        ("np.zeros((TEXTS, 0), np.float32)", r"should have the shape \[1, 64\]"),
        ("np.ones((TEXTS, 63), np.float32)", r"should have the shape \[1, 64\]"),
    ],
)
def test_a_model_that_answers_wrongly_is_not_ready(tmp_path: Path, answer: str, found: str) -> None:
    directory = export("tiny", repository=tmp_path).directory
    source = host_that("pass").replace("np.zeros((shape[0], 64), np.float32)", answer.replace("TEXTS", "shape[0]"))
    replace_host(directory, source)
    with pytest.raises(
        ServeError, match=f"qwen3_embedding was loaded, but its answer does not match its config.*: .*({found})"
    ):
        Triton(tmp_path).__enter__()


def test_a_model_that_gives_no_answer_is_not_waited_for_forever(tmp_path: Path) -> None:
    directory = export("tiny", repository=tmp_path).directory
    config = directory / "configs" / "embedded.pbtxt"
    text = config.read_text()
    config.write_text(text[: text.index("model_warmup")] + text[text.index("# ---- Below") :])
    replace_host(directory, host_that("pass").replace("shapes = [", "time.sleep(1000)\n        shapes = ["))
    timeout_s = 1
    while True:  # a slow machine needs longer to load it
        with pytest.raises(ServeError) as error:
            Triton(tmp_path, ready_timeout_s=timeout_s).__enter__()
        if "Triton was not ready within" not in str(error.value):
            break
        timeout_s *= 3
    assert "qwen3_embedding was loaded, but did not answer within" in str(error.value)


def test_restricted_apis_are_opened_with_the_operators_own_header(tmp_path: Path) -> None:
    export("tiny", repository=tmp_path)
    with Triton(tmp_path, threads=1, arguments=["--http-restricted-api=inference,model-config:x-key=sesame"]) as triton:
        assert triton.models()
