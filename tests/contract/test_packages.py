"""The packages' borders: what each exports, what importing it costs, and that none imports another.

But for the gateway: it is an application of the client, and uses what any application may.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import qwen3_export
import qwen3_serve

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "qwen3_client": "client",
    "qwen3_export": "export",
    "qwen3_gateway": "gateway",
    "qwen3_serve": "serve",
    "qwen3_verify": "verify",
}


def test_the_public_surfaces_are_pinned() -> None:
    assert qwen3_export.__all__ == ["ExportError", "Exported", "export"]
    assert qwen3_serve.__all__ == ["ServeError", "Triton"]
    assert all(hasattr(qwen3_export, name) for name in qwen3_export.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_another(package: str) -> None:
    others = set(PACKAGES) - {package} - ({"qwen3_client"} if package == "qwen3_gateway" else set())
    sources = list((ROOT / PACKAGES[package] / package).rglob("*.py"))
    assert len(sources) > 3
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            assert not {name.split(".")[0] for name in names} & others, path
            assert package == "qwen3_client" or not any(name.startswith("qwen3_client._") for name in names), path


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import qwen3_client", "torch transformers onnx onnxruntime onnx_ir gevent"),
        ("import qwen3_export._export_command", "torch transformers onnx onnxruntime onnx_ir"),
        ("import qwen3_export.portable._build_engine_command", "torch transformers onnx onnxruntime onnx_ir tensorrt"),
        ("from qwen3_export import export", "torch transformers onnxruntime optimum"),
        ("import qwen3_verify._verify_command", "torch transformers onnx onnxruntime numpy"),
        ("import qwen3_gateway._gateway_command", "torch transformers onnx onnxruntime numpy fastapi uvicorn"),
        ("import qwen3_serve._serve_command", "torch transformers onnx onnxruntime numpy"),
    ],
)
def test_imports_stay_light(statement: str, absent: str) -> None:
    check = (
        f"{statement}, sys; loaded = set({absent.split()}) & set(sys.modules); sys.exit(repr(loaded) if loaded else 0)"
    )
    if statement.startswith("from"):
        check = check.replace(f"{statement}, sys", f"{statement}; import sys")
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
