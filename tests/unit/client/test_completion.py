"""`qwen3-triton completion`: the scripts, loaded and asked in the real shells."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# What each shell needs to say what it would offer after "qwen3-triton WORDS".
ASK = {
    "bash": """
        source "$1"
        COMP_WORDS=(qwen3-triton ${2}); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE="qwen3-triton $2"
        COMP_POINT=${#COMP_LINE}
        complete -p qwen3-triton > /dev/null || exit 3
        $(complete -p qwen3-triton | sed 's/.*-F \\([^ ]*\\).*/\\1/') qwen3-triton
        printf '%s\\n' "${COMPREPLY[@]}"
    """,
    # As ~/.zshrc does it; then what was registered, and all that zsh knows now.
    "zsh": """
        autoload -Uz compinit && compinit -u -d "$1.dump" && eval "$(<$1)"
        print -l ${_comps[qwen3-triton]} && functions && typeset
    """,
    "fish": 'source $argv[1]; complete -C "qwen3-triton $argv[2]"',
}


def script(shell: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "qwen3_client", "completion", shell],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


def ask(shell: str, folder: Path, words: str) -> str:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: its completion was not tested")
    file = folder / f"completion.{shell}"
    file.write_text(script(shell))
    arguments = [shell, "-c", ASK[shell], *([shell] if shell != "fish" else []), str(file), words]
    done = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_commands_and_options_are_offered(shell: str, tmp_path: Path) -> None:
    commands = {line.split()[0] for line in ask(shell, tmp_path, "re").splitlines()}
    assert commands == {"reload", "rerank"}
    options = {line.split()[0] for line in ask(shell, tmp_path, "serve --gateway-w").splitlines()}
    assert options == {"--gateway-workers"}
    values = {line.split()[0] for line in ask(shell, tmp_path, "export tiny --precision int").splitlines()}
    assert values == {"int8", "int8-weight", "int4-weight"}


def test_zsh_takes_the_script(tmp_path: Path) -> None:
    said = ask("zsh", tmp_path, "")
    assert "_shtab_qwen3_triton" in said.splitlines()[0]
    for word in ("--gateway-workers", "--top-k", "int4-weight"):
        assert word in said


def test_another_shell_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qwen3_client", "completion", "dash"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "'dash'" in done.stderr
