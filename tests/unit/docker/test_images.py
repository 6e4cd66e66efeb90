"""The Dockerfiles against what they build on; nothing is built here (`make test-containers` does that)."""

import argparse
import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from zipfile import ZipFile

import pytest
from google.protobuf import text_format
from qwen3_serve import cli
from support.container import DOCKER, ROOT, final_stage, instructions
from tritonclient.grpc.model_config_pb2 import ModelConfig

NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.onnx", "*.onnx.data", "*.so")


def copied(name: str) -> set[str]:
    """What a Dockerfile takes from the build context."""
    taken = [each.arguments for each in instructions(name) if each.name == "COPY" and not each.option("from")]
    return {source for sources in taken for source in sources[:-1]}


@pytest.mark.parametrize("name", ["Dockerfile", "cpu.Dockerfile"])
def test_the_build_context_holds_what_is_copied_and_nothing_else(name: str) -> None:
    lines = (DOCKER / f"{name}.dockerignore").read_text().splitlines()
    assert "*" in lines
    kept, taken = {line[1:] for line in lines if line.startswith("!")}, copied(name)
    inside = {pattern for pattern in kept if any(pattern.startswith(f"{source}/") for source in taken)}
    assert kept - inside == taken
    # What the patterns for exported models would leave out of the packages.
    for package in sorted(taken & {"client", "export", "serve"}):
        for file in (ROOT / package).rglob("tokenizer*.json"):
            assert any(fnmatch(str(file.relative_to(ROOT)), pattern) for pattern in inside)


def test_the_wheel_of_the_small_image_is_whole(tmp_path: Path) -> None:
    """Built of what is copied into the image, it holds the same files as the wheel of the whole checkout."""
    for source in copied("cpu.Dockerfile"):
        target = tmp_path / "source" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=NOT_COPIED)
        else:
            shutil.copy(ROOT / source, target)
    assert wheel_files(tmp_path / "source", tmp_path / "image") == wheel_files(ROOT, tmp_path / "checkout")


def wheel_files(source: Path, scratch: Path) -> set[str]:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(scratch)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = scratch.glob("*.whl")
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_plugin_lies_where_the_configurations_look_for_it() -> None:
    """Once an operator takes the comment signs away: it is off as exported."""
    (copy,) = [each for each in final_stage("Dockerfile") if each.option("from") == "batching"]
    library, folder = copy.arguments
    for file in (ROOT / "export" / "qwen3_export" / "templates").glob("*/config.pbtxt"):
        uncommented = re.sub("^# (?=parameters {)", "", file.read_text(), flags=re.MULTILINE)
        config = text_format.Parse(uncommented, ModelConfig())
        path = config.parameters["TRITON_BATCH_STRATEGY_PATH"].string_value
        assert path == f"{folder}{Path(library).name}", file


def test_the_small_image_runs_a_command_that_serve_takes() -> None:
    found = {each.name: each.value for each in final_stage("cpu.Dockerfile")}
    assert json.loads(found["ENTRYPOINT"]) == ["qwen3-triton"]
    command, *arguments = json.loads(found["CMD"])
    assert command == "serve"
    parser = argparse.ArgumentParser(exit_on_error=False)
    cli.add_arguments(parser)
    read = parser.parse_args(arguments)
    assert (read.host, read.repository) == ("0.0.0.0", Path("/models"))  # noqa: S104
    assert read.tritonserver == Path("/opt/tritonserver/bin/tritonserver"), "the image's own; no wheel brings another"


def test_both_images_are_built_on_one_release_of_triton() -> None:
    releases = {
        each.value for name in ("Dockerfile", "cpu.Dockerfile") for each in instructions(name) if each.name == "ARG"
    }
    assert len(releases) == 1, releases
