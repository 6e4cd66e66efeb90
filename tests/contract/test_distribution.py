"""The distribution as it is built: where its version comes from."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import qwen3_client

ROOT = Path(__file__).parents[2]


def test_the_version_is_the_client_s() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{qwen3_client.__version__}\n"), done.stderr


def test_the_demo_s_checkpoint_is_in_it_and_no_other_weights(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=True)
    (wheel,), (source,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = archive.namelist()
    with tarfile.open(source) as archive:
        in_source = archive.getnames()
    files = [path for path in (ROOT / "export/qwen3_export/demo").rglob("*") if path.is_file()]
    assert len(files) >= 7
    for file in files:
        assert str(file.relative_to(ROOT / "export")) in in_wheel
    for names in (in_wheel, in_source):
        assert [name for name in names if name.endswith((".safetensors", ".onnx", ".data"))] == [
            next(name for name in names if name.endswith("qwen3_export/demo/model.safetensors"))
        ]
