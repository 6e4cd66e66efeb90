"""`qwen3-triton gateway`: the command line of `qwen3_serve.gateway.create_app`."""

import argparse
import dataclasses
import errno
import os
import re
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any, get_args

from .settings import EmptyDocuments, Settings, SettingsError

HELP = "offer the APIs of OpenAI, NIM, Cohere, Jina, vLLM, TEI and Ollama in front of a Triton"
EXTRA = "gateway"

KEEP_ALIVE_S = 75  # above the 60 s for which most load balancers keep an idle connection, so that they close it first
_BACKLOG = 2048  # connections that wait to be accepted; uvicorn's default
_MIB = 1024 * 1024
_LAST_PORT = 65535
_URL_VARIABLE = "QWEN3_TRITON_URL"
_DEFAULT = Settings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8080, help="port to listen on; 0 takes a free one (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="worker processes (%(default)s)")
    parser.add_argument("--tls-certificate", type=Path, metavar="PEM", help="certificate chain, to serve HTTPS")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="private key of --tls-certificate")
    parser.add_argument(
        "--drain-timeout",
        type=int,
        default=30,
        metavar="S",
        help="seconds to finish requests when stopping (%(default)s)",
    )
    parser.add_argument(
        "--keep-alive",
        type=int,
        default=KEEP_ALIVE_S,
        metavar="S",
        help="seconds to keep an idle connection open; longer than your load balancer does (%(default)s)",
    )
    _add(parser, "--root-path", "root_path", "path that a proxy puts before the gateway's", metavar="PATH")
    parser.add_argument(
        "--cors-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let web pages of this origin, such as https://app.example, or of any (*), use the gateway; repeatable",
    )
    parser.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help="API keys, one per line; further ones in QWEN3_GATEWAY_API_KEYS (default: no key is needed)",
    )
    parser.add_argument("--no-access-log", dest="access_log", action="store_false", help="do not log requests")

    triton = parser.add_argument_group("Triton")
    triton.add_argument(
        "--triton",
        default=os.environ.get(_URL_VARIABLE) or _DEFAULT.triton,
        metavar="URL",
        help="host:port of gRPC, grpcs://host:port, or http(s)://host:port; several hosts after commas (default: the "
        f"value of {_URL_VARIABLE}, or else {_DEFAULT.triton})",
    )
    triton.add_argument(
        "--triton-token-file", type=Path, metavar="FILE", help="file with the bearer token to send to Triton"
    )
    _add(triton, "--triton-ca", "triton_ca", "certificate authorities to trust for Triton", metavar="PEM")
    _add(triton, "--triton-certificate", "triton_certificate", "the gateway's own certificate (mTLS)", metavar="PEM")
    _add(triton, "--triton-key", "triton_key", "private key of --triton-certificate", metavar="PEM")
    _add(triton, "--model", "model", "the embedding model, if Triton has several", metavar="NAME")
    _add(triton, "--reranker", "reranker", "the reranker, if Triton has several", metavar="NAME")
    _add(triton, "--tokenizer", "tokenizer", "folder with tokenizer.json, or Hub id (default: what Triton names)")
    _add(triton, "--reranker-tokenizer", "reranker_tokenizer", "the same as --tokenizer, for the reranker")
    triton.add_argument(
        "--special-tokens",
        action="store_true",
        help="read special tokens in texts, such as <|im_end|>, as such (default: as plain text)",
    )
    _add(triton, "--concurrency", "concurrency", "texts sent to Triton at once", metavar="N")
    _add(triton, "--timeout", "timeout_s", "seconds that Triton may take for one text", metavar="S")
    for option, what in (("--model-alias", "embedding model"), ("--reranker-alias", "reranker")):
        triton.add_argument(
            option,
            action="append",
            default=[],
            metavar="NAME",
            help=f"another name for the {what}, such as the one that your programs use now; repeatable",
        )

    _add(
        parser,
        "--calibration",
        "calibration",
        "value ranges of an index, from `qwen3-triton embed --dtype int8`; int8 and uint8 vectors need it",
        metavar="NPZ",
    )

    parser.add_argument(
        "--append-end-token",
        action="store_true",
        help="take token ids that do not end in the end-of-text token, and append it; they must be this model's",
    )
    parser.add_argument(
        "--empty-documents",
        choices=get_args(EmptyDocuments),
        default=_DEFAULT.empty_documents,
        help="empty documents to rerank: give them score 0, or refuse the request (%(default)s)",
    )

    limits = parser.add_argument_group("limits, for each worker")
    _add(limits, "--max-requests", "max_requests", "requests in progress at once", metavar="N")
    for option, field, what in (
        ("--max-body", "max_body_bytes", "MiB of one request's body"),
        ("--max-held", "max_held_bytes", "MiB of all request bodies in memory"),
    ):
        default: int = getattr(_DEFAULT, field)
        help_ = f"{what} ({default // _MIB})"
        limits.add_argument(option, dest=field, type=_mebibytes, default=default, metavar="MIB", help=help_)
    _add(limits, "--body-timeout", "body_timeout_s", "seconds that a body may take to arrive", metavar="S")
    _add(limits, "--max-items", "max_items", "texts in one request", metavar="N")
    _add(limits, "--max-request-tokens", "max_request_tokens", "tokens in one request", metavar="N")
    _add(limits, "--max-pending-items", "max_pending_items", "texts accepted and not yet answered", metavar="N")
    _add(limits, "--max-pending-tokens", "max_pending_tokens", "tokens accepted and not yet answered", metavar="N")


def check(args: argparse.Namespace) -> None:
    """Check the options before anything is started.

    Raises:
        ValueError: They cannot be used; the message names them.
    """
    _settings(args)


def run(args: argparse.Namespace) -> int:
    """Answer requests until a signal arrives; return the exit code."""
    signal.signal(signal.SIGTERM, _exit)
    try:
        settings = _settings(args)
    except SettingsError as error:
        return _print_error(str(error), code=2)
    try:
        listener = _listen(args.host, args.port)
    except OSError as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        option = "--port" if error.errno == errno.EADDRINUSE else "--port or --host"
        return _print_error(
            f"cannot listen on {args.host}, port {args.port}: {reason}; choose another {option}", code=1
        )
    with listener:
        return _serve(args, settings, listener)


def _serve(args: argparse.Namespace, settings: Settings, listener: socket.socket) -> int:
    import fastapi  # noqa: F401 - fail here, with the extra's name, rather than in a worker
    from qwen3_client import InvalidInputError

    from .app import connect
    from .middleware.tracing import is_configured, tracer_provider
    from .triton_watch import watch_triton
    from .workers import run_workers

    try:
        connect(settings)  # sends nothing; so that a bad option is reported once, and not by every worker
        if is_configured():
            tracer_provider().shutdown()
    except (InvalidInputError, SettingsError) as error:
        return _print_error(_in_options(str(error)).replace("the URL", "--triton", 1), code=2)
    # Connections are accepted already; those that arrive before the first worker has started wait for it.
    scheme, host = "https" if args.tls_certificate else "http", f"[{args.host}]" if ":" in args.host else args.host
    port = listener.getsockname()[1]
    print(f"Gateway to {settings.triton} on {scheme}://{host}:{port}, documentation at /docs", flush=True)
    watch_triton(settings, say=lambda message: _print_error(_in_options(message)))
    has_started = run_workers(
        settings,
        listener,
        workers=args.workers,
        tls_certificate=args.tls_certificate,
        tls_key=args.tls_key,
        drain_timeout_s=args.drain_timeout,
        keep_alive_s=args.keep_alive,
    )
    return 0 if has_started else 1


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"there is no port {text}; ports are 1 to {_LAST_PORT}")
    return int(text)


def _mebibytes(text: str) -> int:
    return int(text) * _MIB


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address[:2], family=family, backlog=_BACKLOG)


def _add(group: Any, option: str, field: str, what: str, *, metavar: str | None = None) -> None:  # noqa: ANN401
    """Declare an option for a field of the settings, with the field's default."""
    default = getattr(_DEFAULT, field)
    number = {int: ",", float: "g"}.get(type(default), "")
    shown = f" ({default:{number}})" if default else ""
    kind = str if default is None else type(default)
    group.add_argument(option, dest=field, type=kind, default=default, metavar=metavar, help=what + shown)


def _settings(args: argparse.Namespace) -> Settings:
    from .middleware.auth import read_keys

    if (args.tls_certificate is None) != (args.tls_key is None):
        raise SettingsError("--tls-certificate and --tls-key go together")
    if args.workers < 1:
        raise SettingsError(f"--workers must be at least 1, not {args.workers}")
    if args.keep_alive < 1:
        raise SettingsError(f"--keep-alive must be at least 1, not {args.keep_alive}")
    fields = {field.name for field in dataclasses.fields(Settings)}
    values = {name: value for name, value in vars(args).items() if name in fields}
    try:
        token = None if args.triton_token_file is None else args.triton_token_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read --triton-token-file: {error}") from None
    if args.calibration is not None:
        _check_calibration(args.calibration)
    values.update(
        api_keys=read_keys(args.api_key_file),
        triton_token=token,
        cors_origins=tuple(args.cors_origin),
        model_aliases=tuple(args.model_alias),
        reranker_aliases=tuple(args.reranker_alias),
    )
    try:
        return Settings(**values)
    except SettingsError as error:
        raise SettingsError(_in_options(str(error))) from None


def _check_calibration(path: str) -> None:
    from .vector_types import load_calibration

    load_calibration(path)


def _in_options(message: str) -> str:
    """Replace settings (`max_items`) and parameters of the client (`model=`) in a message by the command's options."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    options = {action.dest: action.option_strings[0] for action in parser._actions}
    of_client = {
        **{name: options[name] for name in ("model", "reranker", "tokenizer", "reranker_tokenizer", "timeout_s")},
        **{name: options[f"triton_{name}"] for name in ("ca", "certificate", "key")},
        "tls": options["triton_ca"],
        "token": options["triton_token_file"],
        "concurrency": options["concurrency"],
    }
    message = re.sub(
        rf"\b({'|'.join(of_client)})=(?=(['<])?)",
        lambda found: of_client[found[1]] + (" " if found[2] else ""),
        message,
    )
    settings = [
        field.name for field in dataclasses.fields(Settings) if "_" in field.name or field.name == "concurrency"
    ]
    own = re.compile(rf"(?<![-\w])({'|'.join(name for name in settings if name in options)})(?![-\w])")
    return own.sub(lambda found: options[found[1]], message)


def _print_error(message: str, *, code: int = 0) -> int:
    # On one line, even if a server's message has several.
    print(f"qwen3-triton gateway: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code


def _exit(_signal: int, _frame: FrameType | None) -> None:
    # uvicorn first finishes accepted requests, then raises the signal again for the handler that it replaced. A stop
    # that was asked for is a success.
    sys.exit(0)
