"""The embedded Triton in an environment with numpy 2, made by the line that docs/getting-started.md has for it."""

import subprocess
import sys
from pathlib import Path

import pytest
from qwen3_export import export
from support.environments import make_environment, pip_install
from support.hosts import FINGERPRINT, replace_host

pytestmark = [pytest.mark.environments, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[3]

# Both models' answers to ragged requests, as hexadecimal numbers: equal text is equal bits.
ANSWERS = """
import sys
from pathlib import Path
import numpy as np
from qwen3_client import Client
from qwen3_serve import Triton

rows = [np.arange(1, n + 1) % 250 + 1 for n in (1, 2, 2, 9, 40, 300, 40, 9)]
with Triton(Path(sys.argv[1]), threads=1) as triton, Client(triton.grpc_url) as client:
    print(np.__version__, file=sys.stderr)
    for _ in range(3):  # the later ones with prefixes from the cache
        print(client.encode_tokens(rows).tobytes().hex())
    for judgement in client.score_tokens(rows):
        print(judgement.logit.hex(), judgement.score.hex())
"""

# What numpy 2 does to a host that does not know of it: nothing is wrong but the answer.
OLD_HOST = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        rows = np.eye(1, 64, dtype=np.float32)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("embedding", rows)]) for _ in requests]
"""

# Right for the first answer, which `serve` asks for, and then as an old host's.
LATE_OLD_HOST = OLD_HOST.replace(
    "class TritonPythonModel:\n",
    f"import json\n{FINGERPRINT}\nclass TritonPythonModel:\n"
    "    def initialize(self, args):\n"
    "        self.fingerprint = fingerprint_of(args)\n\n",
).replace(
    "        return [",
    "        first = np.from_dlpack(pb_utils.get_input_tensor_by_name(requests[0], 'input_ids'))[0, 0] == 1\n"
    "        if first or len(requests) > 1:\n"
    "            right = pb_utils.Tensor.from_dlpack('embedding', rows)\n"
    "            return [pb_utils.InferenceResponse([right, named(self.fingerprint, 1)]) for _ in requests]\n"
    "        return [",
)

SERVE = "import sys; from qwen3_serve import Triton; Triton(sys.argv[1]).__enter__()"

ASK = """
import sys
from qwen3_client import Client, ContractMismatchError
from qwen3_serve import Triton

with Triton(sys.argv[1]) as triton:
    for url in (triton.grpc_url, triton.http_url):
        with Client(url) as client:
            try:
                client.encode_tokens([[7, 8]])
            except ContractMismatchError as error:
                print("qwen3_embedding" in str(error) and url.rpartition("/")[2] in str(error))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with numpy 2."""
    path = tmp_path_factory.mktemp("environment") / "numpy-2"
    binary = make_environment(path)
    pip_install(binary, f"{ROOT}[serve]")
    pip_install(binary, "numpy>=2")
    return binary


def run(python: str | Path, script: str, repository: Path) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-c", script, str(repository)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_the_same_bits_as_with_numpy_1(python: Path, tmp_path: Path) -> None:
    for kind in ("embedding", "reranker"):
        export("tiny", repository=tmp_path, kind=kind)
    old, new = (run(interpreter, ANSWERS, tmp_path) for interpreter in (sys.executable, python))
    assert old.returncode == 0, old.stderr
    assert new.returncode == 0, new.stderr
    assert old.stderr.startswith("1.26.")
    assert new.stderr.startswith("2.")
    assert old.stdout
    assert old.stdout == new.stdout


def test_the_padding_front(python: Path, tmp_path: Path) -> None:
    for kind in ("embedding", "reranker"):
        export("tiny", repository=tmp_path, kind=kind, device="tensorrt", precision="fp32")
    script = ANSWERS.replace(
        "Client(triton.grpc_url)", "Client(triton.grpc_url, model='qwen3_embedding', reranker='qwen3_reranker')"
    )
    old, new = (run(interpreter, script, tmp_path) for interpreter in (sys.executable, python))
    assert old.returncode == 0, old.stderr
    assert new.returncode == 0, new.stderr
    assert new.stderr.startswith("2.")
    assert old.stdout == new.stdout


def test_an_export_from_before_is_refused_with_the_remedy(python: Path, tmp_path: Path) -> None:
    replace_host(export("tiny", repository=tmp_path).directory, OLD_HOST)
    result = run(python, SERVE, tmp_path)
    assert result.returncode != 0
    assert "its answer does not match its configuration" in result.stderr
    assert "numpy 2" in result.stderr


def test_the_client_says_what_an_empty_answer_is(python: Path, tmp_path: Path) -> None:
    """`as_numpy` of tritonclient cannot reshape it; over HTTP Triton itself refuses to send it."""
    replace_host(export("tiny", repository=tmp_path).directory, LATE_OLD_HOST)
    result = run(python, ASK, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["True", "True"], result.stderr
