"""`qwen3-triton reload`: a running server changes over to what its model directories hold now.

Triton loads the new version beside the old one, gives it the requests that come from then on, and ends the old one when
its last request is answered.
"""

import argparse
import time
from typing import TYPE_CHECKING

from ._command import add_connection_arguments, credentials_of, run_in_one_line

if TYPE_CHECKING:
    from ._transport import Transport

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "have a running server change over to newly exported versions, without a failed request"
EXTRA: str | None = None

_ASK_S = 10.0  # for what Triton knows without work


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names on the server (default: all that are loaded)")
    add_connection_arguments(parser)
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="seconds that loading a model may take (%(default)g)"
    )


def run(args: argparse.Namespace) -> int:
    """Has each model loaded, one after another.

    Returns:
        0, or 1 when one failed; Triton then goes on with what it had.
    """
    from . import _io_thread
    from ._address import parse_address
    from ._connection import connect
    from ._credentials import credentials_for

    async def reload() -> None:
        address = parse_address(args.url)
        given = credentials_of(args)
        transport = connect(address, credentials_for(address, tls=given.tls, token=given.token, headers=given.headers))
        try:
            for model in args.models or await transport.models(timeout_s=_ASK_S):
                await _reload(transport, model, timeout_s=args.timeout)
        finally:
            await transport.close()

    return run_in_one_line("reload", lambda: _io_thread.submit(reload()).result())


async def _reload(transport: "Transport", model: str, *, timeout_s: float) -> None:
    before = await transport.versions(model, timeout_s=_ASK_S)
    started = time.monotonic()
    await transport.load(model, timeout_s=timeout_s)
    after = await transport.versions(model, timeout_s=_ASK_S)
    print(
        f"{model}: {_named(after)} ready after {time.monotonic() - started:.1f} s; before, {_named(before)}", flush=True
    )


def _named(versions: list[int]) -> str:
    if not versions:
        return "no version"
    return f"version{'s' if len(versions) > 1 else ''} {', '.join(map(str, versions))}"
