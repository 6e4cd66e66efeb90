"""Building a TensorRT plan from the portable graph, with NVIDIA's package `tensorrt`, on the GPU that will run it.

The network is strongly typed: all types are those of the graph. For TensorRT 10.13 to 11. Knows nothing about Triton or
its configurations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import tensorrt as trt

from ..errors import ExportError
from .profiles import Profile

INPUTS = ("input_ids", "attention_mask")

Progress = Callable[[str, int, int], None]


def build_plan(
    graph: Path,
    profiles: Sequence[Profile],
    *,
    timing_cache: Path,
    workspace_bytes: int | None,
    progress: Progress,
) -> bytes:
    """Build a plan.

    Args:
        graph: The portable `model.onnx`, with its weights beside it.
        profiles: The ranges of shapes that the plan must run.
        timing_cache: A file with kernel timings of earlier builds on this kind of GPU. It is read if it exists, and
            written.
        workspace_bytes: Most scratch memory of a kernel; None for the GPU's whole memory.
        progress: Called with the name of a phase, the steps done, and the steps in total.

    Raises:
        ExportError: TensorRT finds no GPU that it can use, refuses the graph, or fails to build the plan.
    """
    logger = _Logger()
    try:
        builder = trt.Builder(logger)
    except (RuntimeError, TypeError) as error:  # pybind11 raises TypeError for a null pointer
        raise ExportError(
            f"TensorRT {trt.__version__} finds no GPU that it can use ({logger.last or error}). Run build-engine on "
            "the GPU that will run the plan; in a container, with `docker run --gpus all`"
        ) from None
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        reasons = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise ExportError(f"TensorRT {trt.__version__} does not take {graph}: {reasons}")

    config = builder.create_builder_config()
    # TF32, which is on by default, rounds float32 factors to ten bits, so that fp32 exports would not be fp32.
    config.clear_flag(trt.BuilderFlag.TF32)
    if workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    for wanted in profiles:
        profile = builder.create_optimization_profile()
        for name in INPUTS:
            profile.set_shape(name, (1, 1), wanted.best, wanted.most)
        config.add_optimization_profile(profile)
    _read_timings(config, timing_cache)
    config.progress_monitor = _Monitor(progress)

    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"TensorRT {trt.__version__} could not build the plan: {logger.last or 'it gave no reason'}")
    timings = config.get_timing_cache()
    timing_cache.parent.mkdir(parents=True, exist_ok=True)
    timing_cache.write_bytes(bytes(timings.serialize()))
    return bytes(plan)


class _Logger(trt.ILogger):
    """A logger that prints nothing and keeps the last error, for the message of an `ExportError`."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.last = ""

    def log(self, severity: trt.ILogger.Severity, message: str) -> None:
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.last = message


class _Monitor(trt.IProgressMonitor):
    """A monitor that reports TensorRT's outermost phases. The inner ones are left out: there are thousands."""

    def __init__(self, progress: Progress) -> None:
        trt.IProgressMonitor.__init__(self)
        self._progress = progress
        self._steps: dict[str, int] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        if parent_phase is None:
            self._steps[phase_name] = num_steps
            self._progress(phase_name, 0, num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        if phase_name in self._steps:
            self._progress(phase_name, step, self._steps[phase_name])
        return True  # go on

    def phase_finish(self, phase_name: str) -> None:
        steps = self._steps.pop(phase_name, None)
        if steps is not None:
            self._progress(phase_name, steps, steps)


def _read_timings(config: trt.IBuilderConfig, path: Path) -> None:
    """Use the timings of earlier builds; start without any if they are of another GPU or release of TensorRT."""
    if path.is_file():
        known = config.create_timing_cache(path.read_bytes())
        if known is not None and config.set_timing_cache(known, ignore_mismatch=False):
            return
    config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
