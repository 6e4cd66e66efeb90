"""A checkpoint on the Hub is inspected without its weights. The Hub is a server in this process with its real paths."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from qwen3_export.checkpoint.random_checkpoint import published_config, write_random_checkpoint
from qwen3_export.checkpoint.tiny import write_byte_tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB_ID = "Qwen/Qwen3-Embedding-0.6B"


class Hub(BaseHTTPRequestHandler):
    """The paths of the Hugging Face Hub that a download takes: of a model, its tree, and its files."""

    folder: ClassVar[Path]
    sent: ClassVar[dict[str, int]]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        names = sorted(file.relative_to(self.folder).as_posix() for file in self.folder.rglob("*") if file.is_file())
        if re.fullmatch(rf"/api/models/{HUB_ID}(/revision/\w+)?", path):
            self.answer_json({"id": HUB_ID, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]})
        elif path.startswith(f"/api/models/{HUB_ID}/tree/"):
            self.answer_json(
                [
                    {"type": "file", "path": name, "oid": "0" * 40, "size": (self.folder / name).stat().st_size}
                    for name in names
                ]
            )
        elif (match := re.fullmatch(rf"/{HUB_ID}/resolve/\w+/(.+)", path)) and match[1] in names:
            self.answer_file(match[1])
        else:
            self.send_error(404)

    def answer_json(self, content: object) -> None:
        self.answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def answer_file(self, name: str) -> None:
        content = (self.folder / name).read_bytes()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{name}"', "Accept-Ranges": "bytes"}
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if span is None:
            self.answer(200, content, headers, name=name)
            return
        first, last = int(span[1]), min(int(span[2]), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self.answer(206, content[first : last + 1], headers, name=name)

    def answer(self, status: int, content: bytes, headers: dict[str, str], *, name: str = "") -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)
            self.sent[name] = self.sent.get(name, 0) + len(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def hub_with(folder: Path) -> Iterator[tuple[str, dict[str, int]]]:
    """Serve a folder as a model on the Hub; gives the URL, and the bytes sent of each file."""
    sent: dict[str, int] = {}
    handler = type("OneModel", (Hub,), {"folder": folder, "sent": sent})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", sent
        server.shutdown()


def run(command: str, *arguments: str, url: str, home: Path, **variables: str) -> tuple[int, str, str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.lower().endswith(("proxy", "hf_hub_offline"))
    }
    environment |= {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", **variables}
    done = subprocess.run(
        [sys.executable, "-m", "qwen3_client", command, HUB_ID, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def make_checkpoint(folder: Path, **changes: int) -> Path:
    folder.mkdir()
    write_random_checkpoint(folder, published_config("0.6B") | {"num_hidden_layers": 1, "vocab_size": 512} | changes)
    write_byte_tokenizer(folder)
    return folder


def test_only_headers_are_downloaded(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model")
    with hub_with(folder) as (url, sent):
        status, out, err = run("inspect", "--json", url=url, home=tmp_path / "home")
        assert status == 0, err
    found: dict[str, Any] = json.loads(out)
    assert (found["revision"], found["dimensions"], found["mrl_reason"]) == (COMMIT, 1024, "as published")
    assert (found["notes"], found["layers"]) == ([], 1)
    weights = {name: size for name, size in sent.items() if name.endswith(".safetensors")}
    assert len(weights) == 2
    assert sum(weights.values()) <= 2 * 2**17 < 25e6 < sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def test_it_says_of_the_hub_what_it_says_of_the_folder(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", num_attention_heads=8)
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stored | {"num_attention_heads": 16}))
    with hub_with(folder) as (url, _):
        status, out, err = run("inspect", url=url, home=tmp_path / "home")
    assert status == 1, err
    assert "refused: layers.0.self_attn.q_proj.weight has the shape [1024, 1024], but [2048, 1024] follows" in out


def test_what_an_export_has_downloaded_is_inspected_without_the_hub(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model")
    with hub_with(folder) as (url, sent):
        status, _, err = run("export", "--repository", str(tmp_path / "models"), url=url, home=tmp_path / "home")
        assert status == 0, err
        before = dict(sent)
        status, _, err = run("inspect", url=url, home=tmp_path / "home", HF_HUB_OFFLINE="1")
        assert (status, sent) == (0, before), err
