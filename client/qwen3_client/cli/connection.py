"""How the commands reach a server: its URL and what shows it who the user is, as arguments."""

import argparse
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UsageError

if TYPE_CHECKING:
    from ..client import Client
    from ..contract import ModelInfo
    from ..options import ClientOptions

URL_VARIABLE = "QWEN3_TRITON_URL"


def add_server_arguments(parser: argparse.ArgumentParser, *, noun: str) -> None:
    """Declare where the server is, and which of its models to use.

    Args:
        parser: the command's.
        noun: what the command calls its kind of model.
    """
    add_connection_arguments(parser)
    parser.add_argument(
        "--model", metavar="NAME", help=f"the {noun}'s name on the server (default: the only {noun} there)"
    )
    parser.add_argument("--tokenizer", help="folder with tokenizer.json, or Hub id (default: what the server names)")
    parser.add_argument(
        "--timeout", type=float, default=300.0, metavar="S", help="seconds for each request (%(default)g)"
    )


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the server is, and what shows it who the user is."""
    default = "localhost:8001"
    parser.add_argument(
        "--url",
        default=os.environ.get(URL_VARIABLE) or default,
        help=f"host:port of gRPC, or http://host:port (default: what {URL_VARIABLE} holds, or else {default})",
    )
    parser.add_argument("--token-file", metavar="PATH", help="file with a bearer token to send with every request")
    parser.add_argument(
        "--header-file", metavar="PATH", help="file with more headers of every request, one 'name: value' per line"
    )
    parser.add_argument("--ca", metavar="PEM", help="authorities that vouch for a grpcs:// or https:// server")
    parser.add_argument("--certificate", metavar="PEM", help="this client's certificate, where the server asks for one")
    parser.add_argument("--key", metavar="PEM", help="its private key")


def options_of(args: argparse.Namespace) -> "ClientOptions":
    """Return what the arguments of `add_connection_arguments` say, with the content of the files that they name.

    Raises:
        UsageError: a line of the file with headers is none.
        InvalidInputError: an argument cannot be used.
        OSError: a file cannot be read.
    """
    from ..options import ClientOptions, Tls

    named = {"ca": args.ca, "certificate": args.certificate, "key": args.key}
    headers = {}
    for line in [] if args.header_file is None else Path(args.header_file).read_text(encoding="utf-8").splitlines():
        name, colon, value = line.partition(":")
        if line.strip():
            if not colon:
                raise UsageError(f"{args.header_file}: a line is no 'name: value'")
            headers[name.strip()] = value.strip()
    return ClientOptions(
        args.url,
        tls=Tls(**named) if any(named.values()) else None,
        token=None if args.token_file is None else Path(args.token_file).read_text(encoding="utf-8").strip(),
        headers=headers,
    )


def open_client(args: argparse.Namespace, *, noun: str) -> "Client":
    """Return a client for the server that the arguments name.

    Args:
        args: the command's.
        noun: as for `add_server_arguments`.

    Raises:
        UsageError: an option's value makes no sense, or the file with headers holds something else.
        InvalidInputError: an argument cannot be used.
        OSError: a file cannot be read.
    """
    from dataclasses import replace

    from ..client import Client

    if args.model == "":
        raise UsageError(f"--model must not be empty: leave it out to use the only {noun} there")
    if not 0 < args.timeout < math.inf:
        raise UsageError(f"--timeout must be a positive number of seconds, not {args.timeout:g}")
    options = replace(options_of(args), timeout_s=args.timeout)
    if noun == "reranker":
        return Client.from_options(replace(options, reranker=args.model, reranker_tokenizer=args.tokenizer))
    return Client.from_options(replace(options, model=args.model, tokenizer=args.tokenizer))


def dimensions_of(args: argparse.Namespace, info: "ModelInfo") -> int:
    """Return the length of the vectors that the arguments ask for.

    Raises:
        UsageError: the model has no such vectors.
    """
    from ..contract import MIN_DIMENSIONS

    if args.dimensions is None:
        return info.dimensions
    dimensions: int = args.dimensions
    if not MIN_DIMENSIONS <= dimensions <= info.dimensions:
        raise UsageError(f"--dimensions must be from {MIN_DIMENSIONS} to {info.dimensions}, not {dimensions}")
    return dimensions
