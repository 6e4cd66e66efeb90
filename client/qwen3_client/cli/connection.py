"""The arguments with which the commands reach a server: its URL, certificates and credentials.

This module knows nothing about what the commands do there.
"""

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
    """Declare the arguments for the server, its model, and the time-out of requests.

    Args:
        parser: the parser of the command.
        noun: the name of the kind of model in help texts.
    """
    add_connection_arguments(parser)
    parser.add_argument(
        "--model", metavar="NAME", help=f"the {noun}'s name on the server (default: the only {noun} there)"
    )
    parser.add_argument(
        "--tokenizer", help="folder with tokenizer.json, or Hub id (default: the one that the server names)"
    )
    parser.add_argument(
        "--special-tokens",
        action="store_true",
        help="read special tokens in texts, such as <|im_end|>, as such (default: as plain text)",
    )
    parser.add_argument("--expected-fingerprint", metavar="HEX", help=f"the fingerprint that the {noun} must have")
    parser.add_argument(
        "--timeout", type=float, default=300.0, metavar="S", help="seconds that each request may take (%(default)g)"
    )


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments for the server: its URL, certificates and credentials."""
    default = "localhost:8001"
    parser.add_argument(
        "--url",
        default=os.environ.get(URL_VARIABLE) or default,
        help=f"host:port for gRPC, or http://host:port (default: the value of {URL_VARIABLE}, or {default})",
    )
    parser.add_argument("--token-file", metavar="PATH", help="file with a bearer token to send with every request")
    parser.add_argument(
        "--header-file",
        metavar="PATH",
        help="file with additional headers for every request, one 'name: value' per line",
    )
    parser.add_argument("--ca", metavar="PEM", help="certificate authorities to trust for grpcs:// and https://")
    parser.add_argument("--certificate", metavar="PEM", help="the client's certificate, if the server asks for one")
    parser.add_argument("--key", metavar="PEM", help="private key of --certificate")


def options_of(args: argparse.Namespace) -> "ClientOptions":
    """Return the options that the arguments of `add_connection_arguments` stand for. The files that they name are read.

    Raises:
        UsageError: --timeout makes no sense, or a line of the file with headers is not a header.
        InvalidInputError: an argument cannot be used.
        OSError: a file cannot be read.
    """
    from ..options import ClientOptions, Tls

    if not 0 < args.timeout < math.inf:
        raise UsageError(f"--timeout must be a positive number of seconds, not {args.timeout:g}")
    named = {"ca": args.ca, "certificate": args.certificate, "key": args.key}
    headers = {}
    for line in [] if args.header_file is None else Path(args.header_file).read_text(encoding="utf-8").splitlines():
        name, colon, value = line.partition(":")
        if line.strip():
            if not colon:
                raise UsageError(f"{args.header_file}: a line is not 'name: value'")
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
        args: the arguments of the command.
        noun: "reranker" for a reranker; otherwise the model is an embedding model.

    Raises:
        UsageError: the value of an option is not valid, or a line of the file with headers is not a header.
        InvalidInputError: an argument cannot be used.
        OSError: a file cannot be read.
    """
    from dataclasses import replace

    from ..client import Client

    if args.model == "":
        raise UsageError(f"--model must not be empty: leave it out to use the only {noun} there")
    options = replace(options_of(args), timeout_s=args.timeout, special_tokens=args.special_tokens)
    if noun == "reranker":
        return Client.from_options(
            replace(
                options,
                reranker=args.model,
                reranker_tokenizer=args.tokenizer,
                expected_reranker_fingerprint=args.expected_fingerprint,
            )
        )
    return Client.from_options(
        replace(options, model=args.model, tokenizer=args.tokenizer, expected_fingerprint=args.expected_fingerprint)
    )


def dimensions_of(args: argparse.Namespace, info: "ModelInfo") -> int:
    """Return the length of the vectors that the arguments ask for.

    Raises:
        UsageError: the model has no vectors of that length.
    """
    from ..errors import InvalidInputError

    if args.dimensions is None:
        return info.dimensions
    dimensions: int = args.dimensions
    try:
        info.check_dimensions(dimensions, option="--dimensions")
    except InvalidInputError as error:
        raise UsageError(str(error)) from None
    return dimensions
