"""What the package offers, and what importing it costs."""

import subprocess
import sys

import qwen3_serve.gateway


def test_the_public_surface_is_pinned() -> None:
    assert qwen3_serve.gateway.__all__ == ["Settings", "create_app"]
    assert all(hasattr(qwen3_serve.gateway, name) for name in qwen3_serve.gateway.__all__)


def test_the_command_module_loads_nothing_heavy() -> None:
    heavy = "fastapi uvicorn starlette pydantic orjson prometheus_client numpy grpc tokenizers opentelemetry torch"
    code = f"import sys, qwen3_serve.gateway.cli; print(*sorted(set({heavy.split()!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == ([], "")


def test_traces_cost_nothing_where_nobody_asks_for_them() -> None:
    code = (
        "import sys; from qwen3_serve.gateway import create_app; create_app(); "
        "print('opentelemetry.sdk' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
