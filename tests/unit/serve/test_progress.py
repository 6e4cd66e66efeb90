"""What is said while something takes long."""

import threading
import time

from qwen3_serve.triton.progress import ProgressMessages


def test_words_come_until_the_block_ends() -> None:
    lines: list[str] = []
    three = threading.Event()

    def report(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            three.set()

    with ProgressMessages(report, lambda: "working", interval_s=0.01):
        assert three.wait(30)
    said = len(lines)
    time.sleep(0.05)
    assert len(lines) == said
    with ProgressMessages(None, lambda: "working"):
        pass
