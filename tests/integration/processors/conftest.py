"""Say at the end on which processors the promises were tested."""

import pytest
from support.processors import COVERED


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COVERED] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    covered = config.stash[COVERED]
    for line in dict.fromkeys(covered):
        terminalreporter.write_line(f"covered: {line}")
