"""The speed of the cores: the most that was measured counts as full, and a wait for it ends."""

import itertools

import pytest

from bench.peers.core_speed import CoreSpeed


def test_full_speed_is_the_most_that_was_measured() -> None:
    cores = CoreSpeed(2)
    rates = [cores.measure() for _ in range(5)]
    assert min(rates) > 0
    assert cores.full >= max(rates)


def test_a_wait_ends_at_full_speed_or_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = CoreSpeed(1)
    cores.full = 100.0
    rates = itertools.chain([50.0, 89.0], itertools.repeat(91.0))
    monkeypatch.setattr(cores, "measure", rates.__next__)
    assert cores.wait(0.9, at_most_s=600.0) == 91.0
    monkeypatch.setattr(cores, "measure", lambda: 50.0)
    assert cores.wait(0.9, at_most_s=0.0) == 50.0
