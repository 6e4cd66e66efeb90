"""What `pip install 'qwen3-triton[export,serve-gpu]'` would bring, by pip's resolution; nothing is downloaded."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from support.environments import clean_environment, find_python, make_environment

pytestmark = pytest.mark.environments

ROOT = Path(__file__).parents[3]
# What docs/gpu.md says: ONNX Runtime for GPUs, CUDA's libraries, cuDNN, and Triton's binary.
BROUGHT = {
    "nvidia-cublas",
    "nvidia-cuda-nvrtc",
    "nvidia-cuda-runtime",
    "nvidia-cudnn-cu13",
    "nvidia-cufft",
    "nvidia-curand",
    "nvidia-nvjitlink",  # of cuFFT
    "nvidia-pytriton",
    "onnxruntime-gpu",
}


@pytest.mark.parametrize("version", ["3.11", "3.12"])
def test_the_extra_for_gpus_resolves(tmp_path: Path, version: str) -> None:
    interpreter = find_python(version)
    if interpreter is None:
        pytest.skip(f"there is no python{version} on PATH or among pyenv's")
    python = make_environment(tmp_path / "environment", "--upgrade", "pip", python=interpreter)
    report = tmp_path / "report.json"
    command = ["install", "--dry-run", "--quiet", "--report", str(report), f"{ROOT}[export,serve-gpu]"]
    done = subprocess.run(
        [str(python), "-m", "pip", *command], env=clean_environment(), capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = {
        re.sub(r"[-_.]+", "-", each["metadata"]["name"]).lower(): each["metadata"]["version"]
        for each in json.loads(report.read_text())["install"]
    }
    assert {name for name in found if name.startswith(("nvidia-", "onnxruntime", "torch"))} == BROUGHT
    assert found["nvidia-cuda-runtime"].startswith("13."), "onnxruntime-gpu is built for CUDA 13"
    assert found["nvidia-cudnn-cu13"].startswith("9.")
    assert found["numpy"].startswith("1."), "Triton's binary reads texts with numpy 1 only"
