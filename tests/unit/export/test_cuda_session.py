"""What keeps a graph from running on a GPU is told in a sentence that names the remedy."""

import re
from pathlib import Path

import pytest
from qwen3_export import ExportError
from qwen3_export.cuda import CudaError, GpuState, explained, open_cuda_session

GIB = 2**30
FITS = GpuState(driver=13000, libraries=13000, gpus=2, free_bytes=8 * GIB)


@pytest.mark.parametrize("driver", [13000, 13020, 14000])
def test_nothing_speaks_against_a_gpu_that_fits(driver: int) -> None:
    state = GpuState(driver, libraries=13000, gpus=1, free_bytes=8 * GIB)
    assert state.misfit(gpu=0, weight_bytes=8 * GIB) == ""


@pytest.mark.parametrize(
    ("state", "options", "message"),
    [
        (GpuState(0, 13000, 0, 0), {}, "there is no NVIDIA driver.*--gpus all"),
        (GpuState(12080, 13000, 1, 8 * GIB), {}, r"supports CUDA 12\.8.*needs CUDA 13\.0: update the driver"),
        (GpuState(13000, 13000, 0, 0), {}, "shows no GPU.*CUDA_VISIBLE_DEVICES"),
        (FITS, {"gpu": 2}, "there is no GPU 2: this process sees 2, numbered from 0; change the parameter gpu"),
        (FITS, {"weight_bytes": 9 * GIB}, r"weights take 9\.0 GiB, and GPU 0 has 8\.0 GiB free"),
        (FITS, {"memory_limit_bytes": GIB // 2}, r"weights take 1\.0 GiB, and gpu_mem_limit allows 0\.5 GiB: raise"),
    ],
    ids=["no driver", "old driver", "no GPU", "no such GPU", "memory", "limit"],
)
def test_what_does_not_fit_is_named(state: GpuState, options: dict[str, int], message: str) -> None:
    assert re.search(message, state.misfit(**{"gpu": 0, "weight_bytes": GIB, **options}))


def test_an_onnx_runtime_for_cpus_is_refused() -> None:
    with pytest.raises(CudaError, match=r"runs on CPUs only.*pip uninstall.*qwen3-triton\[serve-gpu\]"):
        open_cuda_session(Path("model.onnx"))
    assert issubclass(CudaError, ExportError)


def test_a_lack_of_memory_is_explained_and_other_errors_are_not_changed() -> None:
    """The first is ONNX Runtime 1.27's own message."""
    lack = RuntimeError(
        "Non-zero status code returned while running MatMul node. "
        "Failed to allocate memory for requested buffer of size 1024"
    )
    assert "lower max_batch_tokens" in explained(lack)
    assert str(lack) in explained(lack)
    assert explained(ValueError("Missing Input: lengths")) == "Missing Input: lengths"
