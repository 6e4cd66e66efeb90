"""The versions that CI and the images install: pinned, from nowhere in particular, and what pyproject.toml asks for.

The files are renewed by `make lock`.
"""

import re
from importlib.metadata import metadata, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parents[2] / "constraints"
LANES = {"dev": {"dev"}, "tensorrt": {"bulk", "serve", "tensorrt", "test"}}


def pinned(lane: str) -> dict[str, str]:
    """Version of each distribution for this interpreter."""
    versions: dict[str, str] = {}
    for line in (FOLDER / f"{lane}.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        requirement = Requirement(line)
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(requirement.specifier)), f"not one public version: {line}"
        if requirement.marker is None or requirement.marker.evaluate():
            versions[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return versions


def asked_for(extras: set[str]) -> list[Requirement]:
    """What the project requires with some extras, and with those that they include, on this interpreter."""
    project = canonicalize_name(metadata("qwen3-triton")["Name"])
    seen: set[str] = set()
    found: list[Requirement] = []
    while extras - seen:
        seen |= extras
        everything = map(Requirement, requires(project) or [])
        found = [
            each
            for each in everything
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *seen))
        ]
        extras = set().union(*(each.extras for each in found if canonicalize_name(each.name) == project))
    return [each for each in found if canonicalize_name(each.name) != project]


@pytest.mark.parametrize("lane", LANES)
def test_a_file_holds_versions_and_no_place_to_take_them_from(lane: str) -> None:
    text = (FOLDER / f"{lane}.txt").read_text()
    assert len(pinned(lane)) > 100
    assert not re.search(r"://|@|--|^-|/opt|\.whl", text.partition("\n")[2], re.MULTILINE)


@pytest.mark.parametrize("lane", LANES)
def test_all_that_the_project_asks_for_is_there_in_a_version_that_fits(lane: str) -> None:
    versions = pinned(lane)
    requirements = asked_for(LANES[lane])
    assert len(requirements) > 20
    for requirement in requirements:
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"run `make lock`: {requirement} has no version"
        assert requirement.specifier.contains(version), f"run `make lock`: {requirement} is not {version}"
