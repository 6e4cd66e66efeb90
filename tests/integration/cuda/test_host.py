"""The embedded host on genuine onnxruntime-gpu, over stub libraries: run by `make test-cuda`.

Nothing is computed. These tests show that the host finds CUDA's libraries and the GPU, takes the CUDA provider, runs
batches in it, and says in one sentence what does not fit.
"""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qwen3_export import export
from qwen3_export.target import choose_target
from support.cuda_graphs import write_graph
from support.cuda_stub import INSTALLED, installed_releases

pytestmark = pytest.mark.cuda


@pytest.fixture(params=installed_releases())
def release(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def model(tmp_path: Path, release: str) -> Path:
    target = choose_target(device="cuda", precision="bf16", ort_version=release)
    write_graph(tmp_path / "model.onnx", size="0.6B", kind="embedding", precision="bf16", target=target)
    return tmp_path / "model.onnx"


def run_host(release: str, model: Path, lengths: list[int], libraries: Path | None, **options: int) -> dict[str, Any]:
    worker = Path(__file__).with_name("run_host.py")
    arguments = [str(INSTALLED / release), str(model), json.dumps(lengths), json.dumps(options)]
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    if libraries is not None:
        environment["LD_LIBRARY_PATH"] = str(libraries)
    command = [sys.executable, str(worker), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_batches_run_in_the_cuda_provider(release: str, model: Path, stubs: Callable[[str], Path]) -> None:
    answer = run_host(release, model, [512] * 40 + [8192] + [1] * 300, stubs(release))
    assert answer == {"provider": "CUDAExecutionProvider", "shapes": [[341, 1024]]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpu": 1}, "there is no GPU 1: this process sees 1"),
        ({"memory_limit_bytes": 1}, "gpu_mem_limit allows 0.0 GiB"),
    ],
)
def test_what_does_not_fit_is_told_before_loading(
    release: str, model: Path, stubs: Callable[[str], Path], options: dict[str, int], message: str
) -> None:
    assert message in run_host(release, model, [1], stubs(release), **options)["error"]


def test_missing_libraries_are_named_with_the_command_that_installs_them(release: str, model: Path) -> None:
    error = run_host(release, model, [1], None)["error"]
    for text in ("libraries are missing", "libcublas.so.13", "pip install 'qwen3-triton[serve-gpu]'"):
        assert text in error


def test_triton_runs_the_host_in_an_environment_with_onnxruntime_gpu(
    tmp_path: Path, release: str, stubs: Callable[[str], Path]
) -> None:
    """It comes as far as the first answer, which is not a unit vector, because nothing is computed."""
    export("tiny", repository=tmp_path / "repository", device="cuda", ort_version=release)
    python = environment_with(INSTALLED / release, tmp_path / "environment")
    ports = [f"--{name}-port=0" for name in ("http", "grpc", "metrics")]
    command = [str(python), "-m", "qwen3_client", "serve", f"--repository={tmp_path / 'repository'}", *ports]

    def serve(libraries: str) -> str:
        environment = os.environ | {"LD_LIBRARY_PATH": libraries}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 1, done.stderr
        return done.stderr

    assert "norm 1" in serve(str(stubs(release)))
    assert "CUDA libraries are missing: " in serve("")


def test_triton_does_not_serve_cuda_graphs_that_compute_something_else(
    tmp_path: Path, stubs: Callable[[str], Path]
) -> None:
    release = installed_releases()[-1]
    directory = export("tiny", repository=tmp_path / "repository", device="cuda", ort_version=release).directory
    config = directory / "configs" / "embedded.pbtxt"
    off = 'parameters { key: "cuda_graphs" value { string_value: "false" } }'
    assert off in config.read_text()
    config.write_text(config.read_text().replace(off, off.replace("false", "true")))
    python = environment_with(INSTALLED / release, tmp_path / "environment")
    ports = [f"--{name}-port=0" for name in ("http", "grpc", "metrics")]
    done = subprocess.run(
        [str(python), "-m", "qwen3_client", "serve", f"--repository={tmp_path / 'repository'}", *ports],
        env=os.environ | {"LD_LIBRARY_PATH": str(stubs(release))},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 1, done.stderr
    assert "set the parameter cuda_graphs in configs/embedded.pbtxt to false" in done.stderr


def environment_with(packages: Path, folder: Path) -> Path:
    """Make an environment that has these packages before those of this one; return its Python."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    others = [path for path in sys.path if path.endswith("site-packages")]
    lines = [str(packages), *(f"import site; site.addsitedir({path!r})" for path in others)]
    (site / "packages.pth").write_text("\n".join(lines) + "\n")
    return folder / "bin" / "python"
