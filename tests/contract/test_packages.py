"""The packages' borders: what each exports, what importing it costs, and which of them imports which.

The gateway is an application of the client, and uses what any application may. Whatever runs a graph
asks `qwen3_export.cpu` or `qwen3_export.cuda` how, all hosts share `qwen3_export.triton_tensors` and
`qwen3_export.triton_requests`, and `qwen3_export.model_directory` is the one reader of what an export wrote. Nothing
imports the serving package.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import qwen3_export
import qwen3_serve

ROOT = Path(__file__).parents[2]
PACKAGES = {"qwen3_client": "client", "qwen3_export": "export", "qwen3_serve": "serve"}
# What a part of a package may import of other packages; the longest name that fits a module counts.
ALLOWED: dict[str, set[str]] = {
    "qwen3_client": set(),
    "qwen3_export": {"qwen3_client.fingerprint"},  # one formula for what both state
    "qwen3_export.templates": {"qwen3_serve.host.triton_model"},  # an export's 1/model.py, which runs in Triton
    "qwen3_serve.gateway": {"qwen3_client"},
    "qwen3_serve.host": {
        "qwen3_client",  # a text model is the client, in front of a packed model
        "qwen3_export",
        "qwen3_export.cpu",
        "qwen3_export.cuda",
        "qwen3_export.model_directory.triton_config",
        "qwen3_export.onnx_runtime",
        "qwen3_export.triton_requests",
        "qwen3_export.triton_tensors",
    },
    "qwen3_serve.cli": {"qwen3_export.cpu", "qwen3_export.onnx_runtime"},
    "qwen3_serve.triton": {
        "qwen3_export",
        "qwen3_export.cuda",
        "qwen3_export.model_directory.manifest",
        "qwen3_export.model_directory.repository",
        "qwen3_export.model_directory.triton_config",
    },
    "qwen3_serve": set(),
}


def test_the_public_surfaces_are_pinned() -> None:
    assert qwen3_export.__all__ == ["ExportError", "Exported", "export"]
    assert qwen3_serve.__all__ == ["ServeError", "Triton"]
    assert all(hasattr(qwen3_export, name) for name in qwen3_export.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_module_imports_of_other_packages_only_what_is_allowed(package: str) -> None:
    root = ROOT / PACKAGES[package]
    sources = list((root / package).rglob("*.py"))
    assert len(sources) > 3
    for path in sources:
        module = ".".join(path.relative_to(root).with_suffix("").parts)
        allowed = ALLOWED[max((name for name in ALLOWED if f"{module}.".startswith(f"{name}.")), key=len)]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names.append(node.module or "")
            crossing = {name for name in names if name.split(".")[0] in set(PACKAGES) - {package}}
            assert crossing <= allowed, path


def test_a_call_of_the_client_goes_down_and_never_back_up() -> None:
    """Its path, in order: each module imports only those below it, and the helpers on the way import none of it."""
    client = ROOT / "client" / "qwen3_client"
    path = ["client", "async_client", "current_model", "served_model", "session", "transports/grpc"]
    for depth, name in enumerate(path):
        above = {f".{upper}" for upper in path[: depth + 1]}
        for node in ast.walk(ast.parse((client / f"{name}.py").read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level > 0:
                assert f".{node.module}" not in above, name
    for helper in (
        "inputs",
        "options",
        "prompts",
        "tokenizer",
        "bounded_tokenizer",
        "token_ids",
        "call_options",
        "outcome",
        "once",
        "window",
        "vectors",
    ):
        for node in ast.walk(ast.parse((client / f"{helper}.py").read_text("utf-8"))):
            assert not isinstance(node, ast.ImportFrom) or node.module not in path, helper


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import qwen3_client", "torch transformers onnx onnxruntime onnx_ir gevent"),
        ("import qwen3_export.cli", "torch transformers onnx onnxruntime onnx_ir"),
        ("import qwen3_export.tensorrt.cli", "torch transformers onnx onnxruntime onnx_ir tensorrt"),
        ("from qwen3_export import export", "torch transformers onnxruntime optimum"),
        ("import qwen3_export.verify.cli", "torch transformers onnx onnxruntime numpy"),
        ("import qwen3_serve.gateway.cli", "torch transformers onnx onnxruntime numpy fastapi uvicorn"),
        ("import qwen3_serve.cli", "torch transformers onnx onnxruntime numpy"),
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
