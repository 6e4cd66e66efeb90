"""The options of `qwen3-triton gateway` as options of `serve --gateway`: `--workers` is `--gateway-workers`, and so on.

They are taken from the gateway's own parser, so that they are declared once. This module passes them on and knows
nothing about what they mean.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ServeError
from .gateway import cli as gateway_cli

_PREFIX = "--gateway-"
_SET_BY_SERVE = "--triton"  # options that begin so say where Triton is and how to connect, which `serve` knows


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """The arguments to start the gateway with, and those of their values that this package needs.

    Attributes:
        arguments: Arguments of `qwen3-triton gateway`, without the address of Triton.
        host: Address to listen on.
        port: Port to listen on; 0 for a free one.
        drain_timeout_s: How long stopping may take, while it finishes accepted requests. Whole seconds.
        is_secure: Whether it uses HTTPS.
    """

    arguments: tuple[str, ...]
    host: str
    port: int
    drain_timeout_s: int
    is_secure: bool


def add_gateway_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options; those that are given are collected in `gateway_options`, as `gateway` takes them."""
    parser.set_defaults(gateway_options=[])
    group = parser.add_argument_group("gateway, with --gateway", "the options of `qwen3-triton gateway`, with a prefix")
    for action in _parser()._actions:
        name = action.option_strings[0]
        if name.startswith(_SET_BY_SERVE):
            continue
        shown = (action.help or "") % vars(action)
        if name in ("--host", "--drain-timeout"):
            shown = f"{shown.rpartition(' (')[0]} (as {name})"
        group.add_argument(
            _PREFIX + name.removeprefix("--"),
            dest="gateway_options",
            action=_PassOn,
            nargs=action.nargs,
            type=_checked(action.type),
            choices=action.choices,
            metavar=action.metavar
            or (None if action.nargs == 0 else name.removeprefix("--").replace("-", "_").upper()),
            help=shown.replace("%", "%%"),
        )


def gateway_options(given: Sequence[str], *, host: str, drain_timeout_s: int) -> GatewayOptions:
    """Check that the gateway can start with these options, before anything is started.

    Args:
        given: The user's options, as `qwen3-triton gateway` takes them.
        host: Address to listen on, unless `given` has another.
        drain_timeout_s: How long stopping may take, unless `given` has another value.

    Raises:
        ServeError: The gateway is not installed, or refuses the options.
    """
    if importlib.util.find_spec("fastapi") is None:
        raise ServeError("--gateway needs the gateway extra: pip install 'qwen3-triton[gateway]'")
    arguments = (f"--host={host}", f"--drain-timeout={drain_timeout_s}", *given)
    chosen = _parser().parse_args(arguments)
    try:
        gateway_cli.check(chosen)
    except ValueError as error:
        raise ServeError(re.sub(r"--(?=[a-z])", _PREFIX, str(error))) from None
    return GatewayOptions(
        arguments=arguments,
        host=chosen.host,
        port=chosen.port,
        drain_timeout_s=chosen.drain_timeout,
        is_secure=chosen.tls_certificate is not None,
    )


class _PassOn(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        name = "--" + self.option_strings[0].removeprefix(_PREFIX)
        given = name if self.nargs == 0 else f"{name}={values}"
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), given])


def _checked(convert: Any) -> Callable[[str], str]:  # noqa: ANN401
    """Return a type that accepts what `convert` accepts, and returns the text unchanged."""
    if convert is None:
        return str

    @functools.wraps(convert)
    def check(text: str) -> str:
        convert(text)
        return text

    return check


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    gateway_cli.add_arguments(parser)
    return parser
