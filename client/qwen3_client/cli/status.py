"""`qwen3-triton status`: print the state of a running server and of its models.

This module knows nothing about embedding and ranking.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..contract import string_parameters
from ..fingerprint import fingerprint_of
from .connection import add_connection_arguments, options_of

if TYPE_CHECKING:
    from ..transports.base import Transport

HELP = "print which models a running server has, and whether they are ready"
EXTRA: str | None = None

_HEAD = ("model", "version", "checkpoint", "precision", "dimensions", "max_tokens", "fingerprint", "state")
_NONE = "-"
_SHORT = 40  # a reason with fewer characters is printed in the table


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of a server.

    Attributes:
        version: version of Triton.
        is_ready: whether Triton reports that it is ready.
        models: a line for each version of each model, with the columns of `_HEAD`.
        ready: names of the models that are ready and were exported by this project.
        reasons: the reasons that Triton gives for versions that are not ready, if they are too long for the table.
    """

    version: str
    is_ready: bool
    models: list[tuple[str, ...]]
    ready: list[str]
    reasons: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("server", nargs="?", metavar="URL", help="URL of the server, the same as --url")
    add_connection_arguments(parser)
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="S", help="seconds to wait for an answer (%(default)g)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the server's versions and a table of its models.

    Returns:
        0 if the server and at least one model of this project are ready; else 1.
    """
    from .. import __version__, io_thread
    from ..session import connect

    args.url = args.url if args.server is None else args.server
    options = options_of(args)

    async def ask() -> Status:
        transport = connect(options)
        try:
            return await _status(transport, timeout_s=args.timeout)
        finally:
            await transport.close()

    status = io_thread.submit(ask()).result()
    state = "ready" if status.is_ready else "not ready"
    print(f"Triton {status.version} at {options.address} is {state}; this is qwen3-triton {__version__}\n")
    print(_table([_HEAD, *status.models]) if status.models else "It has no models.")
    for reason in status.reasons:
        print(f"\n{reason}")
    if not status.ready:
        print("\nNo Qwen3-Embedding or Qwen3-Reranker model is ready: export one, then run `qwen3-triton reload`")
    return 0 if status.is_ready and status.ready else 1


async def _status(transport: "Transport", *, timeout_s: float) -> Status:
    version = await transport.server_version(timeout_s=timeout_s)
    is_ready = await transport.is_server_ready(timeout_s=timeout_s)
    lines, ready, reasons = [], [], []
    for entry in await transport.index(timeout_s=timeout_s):
        name, number = str(entry.get("name", "?")), str(entry.get("version", _NONE))
        state = str(entry.get("state", "")).lower()
        about: Mapping[str, str] = {}
        if state == "ready":
            about = string_parameters(await transport.model_config(name, timeout_s=timeout_s))
            if "model_family" in about:
                ready.append(name)
        elif reason := " ".join(str(entry.get("reason", "")).split()):
            state = f"{state}: {reason}" if len(reason) < _SHORT else f"{state}, see below"
            if len(reason) >= _SHORT:
                reasons.append(f"{name}, version {number}: {reason}")
        lines.append(
            (
                name,
                number,
                f"{about['model_family']} {about.get('model_size', '')}".strip() if "model_family" in about else _NONE,
                about.get("precision", _NONE),
                about.get("dimensions", _NONE),
                about.get("max_tokens", _NONE),
                fingerprint_of(about) or _NONE,
                state or "not loaded",
            )
        )
    return Status(version=version, is_ready=is_ready, models=sorted(lines), ready=ready, reasons=reasons)


def _table(lines: Sequence[tuple[str, ...]]) -> str:
    """Return lines as text with aligned columns."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
