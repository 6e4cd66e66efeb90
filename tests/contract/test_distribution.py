"""The distribution as it is built: its version, the checkpoint `demo`, and the operators, which are compiled for it."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import qwen3_client

import hatch_build

ROOT = Path(__file__).parents[2]
IN_WHEEL = hatch_build.LIBRARY.removeprefix("export/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Archives that were built of the checkout."""

    wheel: Path
    source: Path


def hatchling(*arguments: str, folder: Path, without_hooks: bool = False) -> subprocess.CompletedProcess[str]:
    variables = {"HATCH_BUILD_NO_HOOKS": "true"} if without_hooks else {}
    return subprocess.run(
        [sys.executable, "-m", "hatchling", *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=280,  # the compiler's first run on a machine takes it a minute
        check=False,
    )


def build_wheel(source: Path, target: Path, *, without_hooks: bool = False) -> Path:
    done = hatchling(
        "build", "--target", "wheel", "--directory", str(target), folder=source, without_hooks=without_hooks
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = target.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    folder = tmp_path_factory.mktemp("distribution")
    done = hatchling("build", "--directory", str(folder), folder=ROOT)
    assert done.returncode == 0, done.stderr
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Distribution(wheel=wheel, source=source)


@pytest.fixture
def unpacked(distribution: Distribution, tmp_path: Path) -> Path:
    """The source distribution's files, which are no git checkout."""
    shutil.unpack_archive(distribution.source, tmp_path / "unpacked")
    (folder,) = (tmp_path / "unpacked").iterdir()
    return folder


def test_the_version_is_the_client_s() -> None:
    done = hatchling("version", folder=ROOT)
    assert (done.returncode, done.stdout) == (0, f"{qwen3_client.__version__}\n"), done.stderr


def test_the_demo_s_checkpoint_is_in_it_and_no_other_weights(distribution: Distribution) -> None:
    with zipfile.ZipFile(distribution.wheel) as archive:
        in_wheel = archive.namelist()
    with tarfile.open(distribution.source) as archive:
        in_source = archive.getnames()
    files = [path for path in (ROOT / "export/qwen3_export/demo").rglob("*") if path.is_file()]
    assert len(files) >= 7
    for file in files:
        assert str(file.relative_to(ROOT / "export")) in in_wheel
    for names in (in_wheel, in_source):
        assert [name for name in names if name.endswith((".safetensors", ".onnx", ".data"))] == [
            next(name for name in names if name.endswith("qwen3_export/demo/model.safetensors"))
        ]


def test_the_wheel_says_on_which_systems_its_library_runs(distribution: Distribution) -> None:
    assert distribution.wheel.name.endswith("-py3-none-manylinux_2_17_x86_64.whl")
    with zipfile.ZipFile(distribution.wheel) as archive:
        assert archive.read(IN_WHEEL) == (ROOT / hatch_build.LIBRARY).read_bytes()
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/WHEEL")]
        described = archive.read(name).decode().splitlines()
    assert "Root-Is-Purelib: false" in described
    assert "Tag: py3-none-manylinux_2_17_x86_64" in described


def test_the_source_distribution_gives_the_same_library(
    distribution: Distribution, unpacked: Path, tmp_path: Path
) -> None:
    assert not (unpacked / hatch_build.LIBRARY).exists()
    wheel = build_wheel(unpacked, tmp_path)
    assert wheel.name == distribution.wheel.name
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(IN_WHEEL) == (ROOT / hatch_build.LIBRARY).read_bytes()


def test_the_library_is_compiled_again_only_if_a_source_changed(unpacked: Path) -> None:
    library = unpacked / hatch_build.LIBRARY
    assert hatch_build.build(unpacked)
    first = library.stat().st_mtime_ns
    assert not hatch_build.build(unpacked)
    assert library.stat().st_mtime_ns == first
    with (unpacked / "operators" / "attention_kernel.h").open("a") as header:
        header.write("// one more line\n")
    assert hatch_build.build(unpacked)
    assert not list((unpacked / "build").iterdir())


def test_a_file_that_cannot_be_compiled_ends_the_build_and_the_message_says_how_to_do_without(
    unpacked: Path, tmp_path: Path
) -> None:
    (unpacked / "operators" / "broken.cpp").write_text("int twice(int x) { return 2 * y; }\n")
    done = hatchling("build", "--target", "wheel", "--directory", str(tmp_path), folder=unpacked)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    for said in ("broken.cpp:1:31: error:", "HATCH_BUILD_NO_HOOKS=true"):
        assert said in done.stdout + done.stderr
    assert not list(tmp_path.glob("*.whl"))
    wheel = build_wheel(unpacked, tmp_path, without_hooks=True)
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert IN_WHEEL not in archive.namelist()


def test_a_checkout_s_wheel_without_operators_is_for_every_platform(tmp_path: Path) -> None:
    """`make dist` builds it too, beside a library that was compiled before."""
    assert (ROOT / hatch_build.LIBRARY).is_file()
    wheel = build_wheel(ROOT, tmp_path, without_hooks=True)
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert IN_WHEEL not in archive.namelist()


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])  # where installed distributions are looked for
    with pytest.raises(hatch_build.CompileError, match=r"ziglang, .* is missing. Install what \[build-system\]"):
        hatch_build.build(ROOT)
