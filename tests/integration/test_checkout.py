"""The exporter in a checkout: what it writes is output, and git sees none of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("client", "export", "serve")
KINDS = ("embedding", "reranker")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean checkout of the working tree, what is not committed yet included."""
    origin, clone = tmp_path_factory.mktemp("origin"), tmp_path_factory.mktemp("checkout") / "clone"
    files = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():  # a file that was deleted is listed until the deletion is committed
            (origin / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, origin / name)
    git(origin, "init", "--quiet")
    git(origin, "add", "--all")
    git(origin, "-c", "user.name=tests", "-c", "user.email=tests@localhost", "commit", "--quiet", "--message", "all")
    git(origin, "clone", "--quiet", str(origin), str(clone))
    assert git(clone, "status", "--porcelain") == ""
    done = run_python(clone, "-c", "import qwen3_export; print(qwen3_export.__file__)")
    assert done.stdout.strip() == str(clone / "export" / "qwen3_export" / "__init__.py"), done.stderr
    return clone


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def run_python(checkout: Path, *arguments: str, first_on_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python with the checkout's own packages, as after `pip install -e .` in it."""
    folders = [*([] if first_on_path is None else [first_on_path]), *(checkout / package for package in PACKAGES)]
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def run_export(checkout: Path, *arguments: str, first_on_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `qwen3-triton export tiny` there."""
    return run_python(checkout, "-m", "qwen3_client", "export", "tiny", *arguments, first_on_path=first_on_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_export_leaves_git_status_clean(checkout: Path, device: str, kind: str) -> None:
    done = run_export(checkout, "--device", device, "--kind", kind, "--force")
    assert done.returncode == 0, done.stderr
    assert (checkout / "model_repository" / f"qwen3_{kind}" / "manifest.json").is_file()
    assert git(checkout, "status", "--porcelain") == ""


def test_an_export_over_one_for_cuda_is_whole_again(checkout: Path) -> None:
    """Exports for CUDA have no host, so one must not lose what the next for a CPU is made of."""
    for device in ("cuda", "cpu"):
        done = run_export(checkout, "--device", device, "--kind", "embedding", "--force")
        assert done.returncode == 0, done.stderr
    directory = checkout / "model_repository" / "qwen3_embedding"
    assert (directory / "1" / "model.py").is_file()
    assert (directory / "configs" / "embedded.pbtxt").is_file()
    assert git(checkout, "status", "--porcelain") == ""


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_for_tensorrt_without_optimum_leaves_git_status_clean(
    checkout: Path, kind: str, tmp_path: Path
) -> None:
    missing = 'raise ModuleNotFoundError("No module named \'optimum\'", name="optimum")\n'
    (tmp_path / "optimum.py").write_text(missing)  # it may be installed here
    name = f"{kind}_for_tensorrt"
    done = run_export(checkout, "--device", "tensorrt", "--kind", kind, "--name", name, first_on_path=tmp_path)
    assert done.returncode == 1
    assert "pip install 'qwen3-triton[tensorrt]'" in done.stderr
    assert not list((checkout / "model_repository").glob(f"*{name}*"))
    assert git(checkout, "status", "--porcelain") == ""


@pytest.mark.tensorrt
@pytest.mark.parametrize("kind", KINDS)
def test_an_export_for_tensorrt_leaves_git_status_clean(checkout: Path, kind: str) -> None:
    name = f"{kind}_with_optimum"
    done = run_export(checkout, "--device", "tensorrt", "--kind", kind, "--name", name)
    assert done.returncode == 0, done.stderr
    assert (checkout / "model_repository" / f"{name}_trt" / "manifest.json").is_file()
    assert git(checkout, "status", "--porcelain") == ""
