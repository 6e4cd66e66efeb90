"""A processor without AVX2 runs the graph with padded attention, and says why."""

import subprocess
import sys
from pathlib import Path

import pytest
from qwen3_export import export

SCRIPT = """
import sys
from pathlib import Path
from qwen3_export.cpu import describe_attention, open_session
model = Path(sys.argv[1])
session = open_session(model, threads=1)
print(describe_attention(session, model))
"""


@pytest.mark.emulator
def test_a_processor_without_avx2_says_so(tmp_path: Path) -> None:
    model = export("tiny", repository=tmp_path).directory / "1" / "model.onnx"
    done = subprocess.run(
        ["qemu-x86_64", "-cpu", "Nehalem", sys.executable, "-c", SCRIPT, str(model)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ONNX Runtime's, because this processor has no AVX2 with FMA\n"
    assert "onnxruntime" not in done.stderr, "what is expected is no error in the log"
