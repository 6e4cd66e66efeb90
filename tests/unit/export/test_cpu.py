"""How graphs run on this machine's processor, whichever it is."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from qwen3_export import cpu
from support.processors import WITHOUT_AMX


def test_the_probe_multiplies_what_would_saturate() -> None:
    model = onnx.ModelProto.FromString(cpu._PROBE)
    onnx.checker.check_model(model)
    (node,) = model.graph.node
    assert (node.domain, node.op_type) == ("com.microsoft", "MatMulIntegerToFloat")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert node.input[0] not in constants
    weight, x_scale, scale, zero_point = (constants[name] for name in node.input[1:])
    assert (weight.dtype, weight.tolist()) == (np.int8, [[127]] * 4)
    assert (x_scale.item(), scale.item(), zero_point.item()) == (1.0, 1.0, 128)


@pytest.mark.parametrize("saturates", [True, False])
def test_slower_exact_kernels_only_where_they_are_needed(monkeypatch: pytest.MonkeyPatch, saturates: object) -> None:
    monkeypatch.setattr(cpu, "int8_sums_saturate", lambda: saturates)
    options = cpu.open_session(cpu._PROBE, threads=3).get_session_options()
    assert options.intra_op_num_threads == 3
    assert _entry(options) == ("1" if saturates else None)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("flags\t\t: fpu avx avx2 f16c", ("AVX2",)),
        ("flags : avx2 avx_vnni", ("AVX2", "AVX-VNNI")),
        ("flags : avx2 avx512f avx512_vnni amx_bf16 amx_int8", ("AVX2", "AVX-512", "AVX-512 VNNI", "AMX")),
        ("flags : sse4_2", ()),
        ("Features : fp asimd asimddp", ("NEON", "NEON dot product")),
        ("processor : 0", ()),
    ],
)
def test_instruction_sets_of_known_processors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, names: tuple[str, ...]
) -> None:
    monkeypatch.setattr(cpu, "may_use_tiles", lambda: True)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\n{line}\nprocessor : 1\n{line}\n")
    assert cpu.instruction_sets(cpuinfo) == names


def test_amx_that_the_system_refuses_is_none(tmp_path: Path) -> None:
    """A system that lacks AMX refuses it as well, so this is true on every processor."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags : avx2 avx512f amx_int8\n")
    script = (
        f"from pathlib import Path; from qwen3_export import cpu; print(cpu.instruction_sets(Path({str(cpuinfo)!r})))"
    )
    done = subprocess.run(
        [*WITHOUT_AMX.launcher, sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "('AVX2', 'AVX-512')\n"


def test_where_nothing_is_known_nothing_is_said(tmp_path: Path) -> None:
    assert cpu.instruction_sets(tmp_path / "missing") == ()


def _entry(options: object) -> str | None:
    try:
        return str(options.get_session_config_entry("session.x64quantprecision"))  # type: ignore[attr-defined]
    except RuntimeError:
        return None
