"""Any path will do: of the repository, of the environment, of the temporary folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
from qwen3_client import Client
from qwen3_export import export
from qwen3_serve import ServeError, Triton

AWKWARD = ["with a space", "ünï-日本", "it's $HOME;(a) & b:c"]


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_repository(tmp_path: Path, name: str, locale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / name / "repository"
    export("tiny", repository=repository)
    monkeypatch.setenv("LC_ALL", locale)
    with Triton(repository, threads=1) as triton, Client(triton.grpc_url) as client:
        assert client.encode_document(["a text"]).shape == (1, 64)
    assert {path.name for path in repository.iterdir()} == {"qwen3_embedding"}, "nothing is left behind"


@pytest.mark.parametrize("name", AWKWARD)
def test_a_temporary_folder(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert tempfile.gettempdir() == str(folder)
    export("tiny", repository=tmp_path / "repository")
    with Triton(tmp_path / "repository", threads=1) as triton:
        assert triton.models()


def test_no_place_for_a_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export("tiny", repository=tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "a b"))
    monkeypatch.setattr("qwen3_serve.triton.plain_paths._SYSTEM_FOLDERS", ())
    with pytest.raises(ServeError, match="set TMPDIR"):
        Triton(tmp_path).__enter__()


@pytest.mark.parametrize("name", AWKWARD[:2])
def test_an_environment(tmp_path: Path, name: str) -> None:
    """The whole command, from an environment in such a folder that has Triton's files and ours in it."""
    environment = tmp_path / name
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=60)
    (packages,) = environment.glob("lib/python*/site-packages")
    known = [entry for entry in sys.path if entry.endswith("site-packages") or Path(entry).name in OUR_FOLDERS]
    (packages / "all.pth").write_text("\n".join([*known, sysconfig.get_paths()["purelib"]]), "utf-8")
    wheel = next(Path(entry) for entry in known if (Path(entry) / "pytriton").is_dir())
    for part in ("pytriton", "nvidia_pytriton.libs"):
        shutil.copytree(wheel / part, packages / part)
    export("tiny", repository=tmp_path / "repository")
    script = (
        "import sys, pytriton; from qwen3_serve import Triton\n"
        "assert pytriton.__file__.startswith(sys.prefix), pytriton.__file__\n"
        f"with Triton({str(tmp_path / 'repository')!r}, threads=1) as triton: print(*triton.models())"
    )
    result = subprocess.run(
        [environment / "bin" / "python", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert result.stdout.split() == ["qwen3_embedding"], result.stderr


OUR_FOLDERS = {"client", "export", "serve"}
