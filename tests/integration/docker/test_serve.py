"""serve.sh and ready.sh, run with a real Triton."""

from pathlib import Path

import httpx
from support.container import Served, is_ready


def test_serve_starts_triton_on_the_models_and_becomes_it(served: Served) -> None:
    program = Path(f"/proc/{served.process.pid}/exe").resolve()
    assert program.name == "tritonserver"
    answer = httpx.get(
        f"http://127.0.0.1:{served.ports['http']}/v2/models/qwen3_embedding/ready", trust_env=False, timeout=60
    )
    assert answer.status_code == 200


def test_serve_keeps_the_input_ragged(served: Served) -> None:
    config = httpx.get(
        f"http://127.0.0.1:{served.ports['http']}/v2/models/qwen3_embedding/config", trust_env=False, timeout=60
    )
    assert config.json()["input"][0]["allow_ragged_batch"] is True


def test_a_ready_triton_is_ready(served: Served) -> None:
    assert is_ready(served.ports["http"], "/v2/health/ready")
    assert not is_ready(served.ports["http"], "/v2/models/none/ready")
