"""The speed of the cores: the most that was ever measured counts as full, and a wait for it ends."""

import itertools
import json
from pathlib import Path

import pytest

from bench.peers.core_speed import CoreSpeed


def test_full_speed_is_the_most_that_was_measured(tmp_path: Path) -> None:
    cores = CoreSpeed(1, file=tmp_path / "kept.json", machine="this")
    rates = [cores.measure() for _ in range(3)]
    assert min(rates) > 0
    assert cores.full >= max(rates)


def test_full_speed_is_kept_for_each_machine(tmp_path: Path) -> None:
    """A run that begins while the cores are slow knows that they are."""
    file = tmp_path / "kept.json"
    first = CoreSpeed(1, file=file, machine="this").full
    assert CoreSpeed(1, file=file, machine="this").full >= first
    file.write_text(json.dumps(dict.fromkeys(json.loads(file.read_text()), 1e9)))
    assert CoreSpeed(1, file=file, machine="this").full == 1e9
    assert CoreSpeed(1, file=file, machine="another").full < 1e9


def test_a_wait_ends_at_full_speed_or_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cores = CoreSpeed(1, file=tmp_path / "kept.json", machine="this")
    cores.full = 100.0
    rates = itertools.chain([50.0, 89.0], itertools.repeat(91.0))
    monkeypatch.setattr(cores, "measure", rates.__next__)
    assert cores.wait(0.9, at_most_s=600.0) == 91.0
    monkeypatch.setattr(cores, "measure", lambda: 50.0)
    assert cores.wait(0.9, at_most_s=0.0) == 50.0
