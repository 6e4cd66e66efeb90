"""A TensorRT plan from the portable graph. Needs NVIDIA's `tensorrt` package and the GPU that the plan is for.

The network is strongly typed: the types are the graph's, TensorRT chooses none. For TensorRT 10.13 to 11. Knows nothing
about Triton or configurations.
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
        graph: The portable `model.onnx`, its weights beside it.
        profiles: The ranges of shapes that it shall run.
        timing_cache: What TensorRT has timed before, on this kind of GPU; read if there, and written.
        workspace_bytes: Most scratch memory of a kernel; all of the GPU's if None.
        progress: Called with a phase's name, its steps done, and its steps in all.

    Raises:
        ExportError: There is no GPU that TensorRT can use, or it refuses the graph.
    """
    logger = _Logger()
    try:
        builder = trt.Builder(logger)
    except (RuntimeError, TypeError) as error:  # pybind11's word for a null pointer is TypeError
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
    # TF32, on unless cleared, keeps ten bits of a float32 factor: fp32 exports would not be fp32.
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
        raise ExportError(
            f"TensorRT {trt.__version__} could not build the plan: {logger.last or 'it does not say why'}"
        )
    timings = config.get_timing_cache()
    timing_cache.parent.mkdir(parents=True, exist_ok=True)
    timing_cache.write_bytes(bytes(timings.serialize()))
    return bytes(plan)


class _Logger(trt.ILogger):
    """Keeps the last error, for our own message; shows nothing."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.last = ""

    def log(self, severity: trt.ILogger.Severity, message: str) -> None:
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.last = message


class _Monitor(trt.IProgressMonitor):
    """Passes TensorRT's phases on; the outermost alone, for the inner ones number thousands."""

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
    """Use the timings of earlier builds; those of another GPU or TensorRT do not fit, and new ones are begun."""
    if path.is_file():
        known = config.create_timing_cache(path.read_bytes())
        if known is not None and config.set_timing_cache(known, ignore_mismatch=False):
            return
    config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
