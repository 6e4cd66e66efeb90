"""The speed of the cores is measured, and a wait for it ends."""

import itertools

import pytest

from bench.peers.core_speed import CoreSpeed


def test_cores_multiply() -> None:
    assert CoreSpeed(1).measure() > 0


def test_a_wait_ends_at_the_speed_or_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = CoreSpeed(1)
    rates = itertools.chain([50.0, 89.0], itertools.repeat(91.0))
    monkeypatch.setattr(cores, "measure", rates.__next__)
    assert cores.wait(90.0, at_most_s=600.0) == 91.0
    monkeypatch.setattr(cores, "measure", lambda: 50.0)
    assert cores.wait(90.0, at_most_s=0.0) == 50.0
