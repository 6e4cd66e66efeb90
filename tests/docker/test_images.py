"""The Dockerfiles, read as text: no engine builds them here."""

import argparse
import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from qwen3_serve import cli

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
NAMES = ("Dockerfile", "cpu.Dockerfile")


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, its lines joined."""

    name: str
    value: str


def instructions(name: str) -> list[Instruction]:
    lines = [line for line in (DOCKER / name).read_text().splitlines() if line and not line.startswith("#")]
    logical = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in logical]


def final_stage(name: str) -> list[Instruction]:
    found = instructions(name)
    start = max(index for index, instruction in enumerate(found) if instruction.name == "FROM")
    return found[start:]


def value(name: str, instruction: str) -> str:
    (found,) = [each.value for each in final_stage(name) if each.name == instruction]
    return found


def copied(name: str) -> set[str]:
    """What the Dockerfile takes from the build context."""
    sources: set[str] = set()
    for instruction in instructions(name):
        if instruction.name == "COPY" and "--from" not in instruction.value:
            words = [word for word in shlex.split(instruction.value) if not word.startswith("--")]
            sources.update(words[:-1])
    return sources


@pytest.mark.parametrize("name", NAMES)
def test_one_argument_pins_the_base_of_every_stage(name: str) -> None:
    found = instructions(name)
    arguments = dict(each.value.split("=") for each in found if each.name == "ARG")
    bases = [each.value.split(" AS ")[0] for each in found if each.name == "FROM"]
    assert len(set(bases)) == 1
    (argument,) = arguments
    assert f":${{{argument}}}" in bases[0]
    assert re.match(r"\d+\.\d+", arguments[argument])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_copied_exists_and_is_all_that_the_build_context_holds(name: str) -> None:
    sources = copied(name)
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
    lines = (DOCKER / f"{name}.dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == sources


@pytest.mark.parametrize("name", NAMES)
def test_what_a_stage_takes_from_another_is_a_stage(name: str) -> None:
    found = instructions(name)
    stages = {each.value.split(" AS ")[1] for each in found if each.name == "FROM" and " AS " in each.value}
    taken = {stage for each in found for stage in re.findall(r"(?:--|,)from=([\w-]+)", each.value)}
    assert taken == stages


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_as_somebody_who_is_not_root(name: str) -> None:
    assert value(name, "USER") == "1000:1000"
    made = " ".join(each.value for each in final_stage(name) if each.name == "RUN")
    assert re.search(r"install -d -o 1000 -g 1000 (/cache )?/models", made)


@pytest.mark.parametrize("name", NAMES)
def test_its_scripts_are_there_and_executable(name: str) -> None:
    scripts = {source for source in copied(name) if source.endswith(".sh")}
    for script in scripts:
        assert os.access(ROOT / script, os.X_OK)
    named = set(re.findall(r"\"([\w.]+\.sh)\"", value(name, "ENTRYPOINT") + value(name, "HEALTHCHECK")))
    assert named == {Path(script).name for script in scripts}
    assert '"8000", "/v2/health/ready"' in value(name, "HEALTHCHECK")


def test_the_plugin_lies_where_the_configurations_look_for_it() -> None:
    (copy,) = [each.value for each in final_stage("Dockerfile") if "--from=batching" in each.value]
    library, folder = copy.split()[-2:]
    for config in (ROOT / "export" / "qwen3_export" / "templates").glob("*/config.pbtxt"):
        assert f'"{folder}{Path(library).name}"' in config.read_text()
    built = next(each.value for each in instructions("Dockerfile") if each.value.startswith("make"))
    assert f"BUILD={Path(library).parent}" in built.split()


def test_the_small_image_installs_the_versions_that_ci_tests() -> None:
    installs = [
        command
        for each in instructions("cpu.Dockerfile")
        for command in each.value.split("&&")
        if re.search(r"\bpip install\b", command)
    ]
    assert installs
    assert "COPY constraints/dev.txt /wheel/" in (DOCKER / "cpu.Dockerfile").read_text().splitlines()
    for command in installs:
        assert "-c /wheel/dev.txt" in command


def test_the_small_image_holds_all_that_the_wheel_is_made_of() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    (packages,) = re.findall(r"^packages = (\[.+\])$", project, flags=re.MULTILINE)
    forced = re.findall(r'^"(.+?)" = "qwen3_export/', project, flags=re.MULTILINE)
    needed = [*json.loads(packages), *forced, "LICENSE", "README.md"]
    assert len(needed) > 7
    sources = copied("cpu.Dockerfile")
    for path in needed:
        assert sources & {path, *map(str, Path(path).parents)}, path


def test_the_small_image_s_extras_exist() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    (extras,) = re.findall(r"whl\)\[(.+?)\]", (DOCKER / "cpu.Dockerfile").read_text())
    for extra in extras.split(","):
        assert f"\n{extra} = [" in project


def test_the_small_image_s_command_is_one() -> None:
    assert json.loads(value("cpu.Dockerfile", "ENTRYPOINT")) == ["qwen3-triton"]
    command, *arguments = json.loads(value("cpu.Dockerfile", "CMD"))
    assert command == "serve"
    parser = argparse.ArgumentParser(exit_on_error=False)
    cli.add_arguments(parser)
    read = parser.parse_args(arguments)
    assert (read.host, read.repository) == ("0.0.0.0", Path("/models"))  # noqa: S104
