"""How a graph for CUDA runs in ONNX Runtime on this machine's GPU.

The embedded host and benchmarks open it here. What does not fit, such as the package, CUDA's libraries, the driver or
the GPU's memory, is found before the graph is loaded and told in one sentence: ONNX Runtime itself would go on without
the GPU, and then fail for lack of a kernel. Knows nothing about the model.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ExportError
from .onnx_runtime import runtime, session_options

if TYPE_CHECKING:
    import onnxruntime as ort

_PROVIDER = "CUDAExecutionProvider"
# How to get an ONNX Runtime that runs on GPUs: it and the one for CPUs are one module, so one must go first.
INSTALL = "pip uninstall --yes onnxruntime; pip install 'qwen3-triton[serve-gpu]'"
_GIB = 2**30


class CudaError(ExportError):
    """This machine cannot run a graph on its GPU; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class GpuState:
    """What CUDA says about this machine.

    Attributes:
        driver: The CUDA release that the driver supports, `1000 * major + 10 * minor`; 0 without a driver.
        libraries: The CUDA release of the libraries, likewise.
        gpus: Number of GPUs that this process sees.
        free_bytes: Free memory of the chosen GPU; 0 if there is no such GPU.
    """

    driver: int
    libraries: int
    gpus: int
    free_bytes: int

    def misfit(self, *, gpu: int, weight_bytes: int, memory_limit_bytes: int | None = None) -> str:
        """Return a sentence that says why a model cannot run on a GPU and what to do; "" if nothing speaks against it.

        Args:
            gpu: Index of the GPU.
            weight_bytes: Size of the weights.
            memory_limit_bytes: Most memory that the session may take; None for all.
        """
        if self.driver == 0:
            return (
                "there is no NVIDIA driver, or this process does not see it: install the driver, and start containers "
                "with --gpus all"
            )
        if self.driver // 1000 < self.libraries // 1000:
            return (
                f"the NVIDIA driver supports CUDA {_release(self.driver)}, and the installed onnxruntime needs CUDA "
                f"{_release(self.libraries)}: update the driver"
            )
        if self.gpus == 0:
            return "the NVIDIA driver shows no GPU to this process: run nvidia-smi, and look at CUDA_VISIBLE_DEVICES"
        if gpu >= self.gpus:
            return f"there is no GPU {gpu}: this process sees {self.gpus}, numbered from 0; change the parameter gpu"
        if memory_limit_bytes is not None and weight_bytes > memory_limit_bytes:
            return (
                f"the weights take {_in_gib(weight_bytes)}, and gpu_mem_limit allows {_in_gib(memory_limit_bytes)}: "
                "raise it, or remove it"
            )
        if weight_bytes > self.free_bytes:
            return (
                f"the weights take {_in_gib(weight_bytes)}, and GPU {gpu} has {_in_gib(self.free_bytes)} free: stop "
                "what else runs on it (nvidia-smi lists it), choose another with the parameter gpu, or export a "
                "smaller model"
            )
        return ""


def has_provider() -> bool:
    """Return whether the installed ONNX Runtime was built for CUDA; whether it fits this machine is not tested."""
    return _PROVIDER in runtime().get_available_providers()


def open_cuda_session(
    model: Path, *, gpu: int = 0, memory_limit_bytes: int | None = None, cuda_graphs: bool = False
) -> ort.InferenceSession:
    """Load an exported graph on a GPU.

    Args:
        model: The `model.onnx` file, or another graph beside it.
        gpu: Index of the GPU among those that this process sees.
        memory_limit_bytes: Most memory that the session may take; None for all.
        cuda_graphs: Whether runs with a `gpu_graph_id` are captured and replayed; all of the graph must be on the GPU.

    Raises:
        CudaError: This machine cannot run it.
    """
    ort = runtime()
    if not has_provider():
        raise CudaError(
            f"the installed onnxruntime {ort.__version__} runs on CPUs only; on a machine with an NVIDIA GPU, replace "
            f"it: {INSTALL}"
        )
    if missing := load_libraries():
        raise CudaError(f"these CUDA libraries are missing: {', '.join(missing)}; install them: {INSTALL}")
    weights = sum(file.stat().st_size for file in model.parent.glob("model.onnx*"))
    if misfit := gpu_state(gpu).misfit(gpu=gpu, weight_bytes=weights, memory_limit_bytes=memory_limit_bytes):
        raise CudaError(misfit)
    options = session_options(threads=1)  # what runs on the CPU computes a few small shapes
    # Outside the arena, which would round the size of each weight up.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    # The arena grows by what is needed. By default it doubles, and then takes up to twice the memory.
    settings = {"device_id": str(gpu), "arena_extend_strategy": "kSameAsRequested"}
    if memory_limit_bytes is not None:
        settings["gpu_mem_limit"] = str(memory_limit_bytes)
    if cuda_graphs:
        settings["enable_cuda_graph"] = "1"
    try:
        session = ort.InferenceSession(
            str(model), options, providers=[(_PROVIDER, settings), "CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's own errors have no common base class
        raise CudaError(f"onnxruntime {ort.__version__} cannot load {model} on GPU {gpu}: {explained(error)}") from None
    if _PROVIDER not in session.get_providers():
        raise CudaError(
            f"onnxruntime {ort.__version__} did not start its CUDA provider, and its log has the reason; it was built "
            f"for CUDA {_built_for(ort)} and cuDNN 9. Install what fits it: {INSTALL}"
        )
    return session


def explained(error: Exception) -> str:
    """Return the message of an error of ONNX Runtime, and what to do if memory ran out."""
    message = str(error)
    if re.search(r"Failed to allocate memory|out of memory|CUDA_ERROR_OUT_OF_MEMORY", message):
        return (
            "the GPU's memory does not hold this batch; lower max_batch_tokens in configs/embedded.pbtxt, raise "
            f"gpu_mem_limit, or stop what else runs on the GPU ({message})"
        )
    return message


def load_libraries() -> list[str]:
    """Load CUDA and cuDNN from NVIDIA's wheels, or from where the system has them.

    Returns:
        The names of the libraries that were not found.
    """
    ort = runtime()
    folder = _wheel_libraries(_built_for(ort))
    said = io.StringIO()  # `preload_dlls` prints what it does not find
    with contextlib.redirect_stdout(said):
        # Some releases for CUDA 13, 1.27 among them, look for its wheels where those of CUDA 12 put their files.
        ort.preload_dlls(cudnn=False, directory=None if folder is None else str(folder))
        ort.preload_dlls(cuda=False)
    return re.findall(r"^Failed to load ([^/\s]+): ", said.getvalue(), flags=re.MULTILINE)


def gpu_state(gpu: int) -> GpuState:
    """Ask CUDA about this machine, once `load_libraries` has loaded it.

    Args:
        gpu: Index of the GPU whose memory is asked for.
    """
    cudart = ctypes.CDLL(f"libcudart.so.{_built_for(runtime()).partition('.')[0]}")

    def number(function: str) -> int:
        value = ctypes.c_int(0)
        failed = getattr(cudart, function)(ctypes.byref(value))
        return 0 if failed else value.value

    gpus, free, total = number("cudaGetDeviceCount"), ctypes.c_size_t(0), ctypes.c_size_t(0)
    if gpu < gpus and cudart.cudaSetDevice(gpu) == 0:
        cudart.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
    return GpuState(number("cudaDriverGetVersion"), number("cudaRuntimeGetVersion"), gpus, free.value)


def _built_for(ort: Any) -> str:  # noqa: ANN401 - a module without types
    return str(ort.capi.build_and_package_info.cuda_version)


def _wheel_libraries(cuda: str) -> Path | None:
    """Return the folder of the wheels of a CUDA release, from 13 on; None if it is not installed."""
    spec = importlib.util.find_spec("nvidia")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(package) / f"cu{cuda.partition('.')[0]}" / "lib"
        if folder.is_dir():
            return folder
    return None


def _release(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _in_gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
