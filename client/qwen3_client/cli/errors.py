"""What a command says when it fails: one line on stderr, with the command's own options in it."""

import os
import re
import sys
from collections.abc import Callable

# The options that stand for parameters of the client, which its messages name.
_OPTIONS = {
    "ca": "--ca",
    "certificate": "--certificate",
    "headers": "--header-file",
    "key": "--key",
    "model": "--model",
    "reranker": "--model",
    "reranker_tokenizer": "--tokenizer",
    "timeout_s": "--timeout",
    "tls": "--ca",
    "token": "--token-file",
    "tokenizer": "--tokenizer",
}
_PARAMETER = re.compile(rf"\b({'|'.join(_OPTIONS)})=(?=(['<])?)")


class UsageError(Exception):
    """The arguments contradict one another; nothing was sent."""


def exit_status(command: str, action: Callable[[], int]) -> int:
    """Run a command and print what failed.

    Args:
        command: the command's name.
        action: what it does; returns its exit status.

    Returns:
        The exit status: that of the action, 1 when something failed, 2 when the arguments make no sense.
    """
    from ..errors import Qwen3ClientError

    try:
        return action()
    except UsageError as error:
        return complain(command, str(error), status=2)
    except Qwen3ClientError as error:
        return complain(command, in_options(str(error)), status=1)
    except BrokenPipeError:
        # The reader of stdout has enough (`| head`). Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return complain(command, said, status=1)


def complain(command: str, message: str, *, status: int) -> int:
    """Print why a command failed, as one line whatever the message holds, and return the exit status."""
    print(f"qwen3-triton {command}: {' '.join(message.split())}", file=sys.stderr)
    return status


def in_options(message: str) -> str:
    """Return a message of the client, which names parameters (`model=`), with the commands' options (`--model`)."""
    named = _PARAMETER.sub(lambda found: _OPTIONS[found[1]] + (" " if found[2] else ""), message)
    named = named.replace("let truncate=True cut its end", "leave out --no-truncate to cut it")
    return re.sub(r"(--[a-z-]+) or \1\b", r"\1", named)
