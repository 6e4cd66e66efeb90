"""The errors of commands: each is printed as one line on stderr, which names the options of the command.

This module knows nothing about the single commands.
"""

import os
import re
import sys
from collections.abc import Callable

# The options of the commands for the parameters that messages of the client name.
_OPTIONS = {
    "ca": "--ca",
    "certificate": "--certificate",
    "expected_fingerprint": "--expected-fingerprint",
    "expected_reranker_fingerprint": "--expected-fingerprint",
    "headers": "--header-file",
    "key": "--key",
    "least_cosine": "--least-cosine",
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
    """The arguments are not valid, or contradict one another."""


def exit_status(command: str, action: Callable[[], int]) -> int:
    """Run a command, and print its error if it fails.

    Args:
        command: name of the command.
        action: runs the command, and returns its exit status.

    Returns:
        The exit status: that of the action, 1 if it failed, 2 if the arguments are not valid.
    """
    from ..errors import Qwen3ClientError

    try:
        return action()
    except UsageError as error:
        return complain(command, str(error), status=2)
    except Qwen3ClientError as error:
        return complain(command, in_options(str(error)), status=1)
    except BrokenPipeError:
        # The reader of stdout has closed it (`| head`). Python would print an error when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return complain(command, said, status=1)


def complain(command: str, message: str, *, status: int) -> int:
    """Print why a command failed, as one line even if the message has several, and return `status`."""
    print(f"qwen3-triton {command}: {' '.join(message.split())}", file=sys.stderr)
    return status


def in_options(message: str) -> str:
    """Return a message of the client with options (`--model`) in place of parameters (`model=`)."""
    named = _PARAMETER.sub(lambda found: _OPTIONS[found[1]] + (" " if found[2] else ""), message)
    named = named.replace("let truncate=True cut its end", "leave out --no-truncate to cut it")
    return re.sub(r"(--[a-z-]+) or \1\b", r"\1", named)
