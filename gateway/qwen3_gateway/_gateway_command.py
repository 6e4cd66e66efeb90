"""``qwen3-triton gateway``: the command line of :func:`qwen3_gateway.create_app`."""

import argparse
import contextlib
import dataclasses
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from ._settings import ENVIRONMENT_VARIABLE, Settings, SettingsError

HELP = "answer as OpenAI, Cohere, Jina, TEI and Ollama do, in front of a Triton"
EXTRA = "gateway"

_APP = "qwen3_gateway._app:from_environment"
_KEEP_ALIVE_S = 30
_MIB = 1024 * 1024
_DEFAULT = Settings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that answer (%(default)s)")
    parser.add_argument("--tls-certificate", type=Path, metavar="PEM", help="certificate chain, to serve https")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="its private key")
    parser.add_argument(
        "--drain-timeout", type=int, default=30, metavar="S", help="seconds to finish requests on a stop (%(default)s)"
    )
    parser.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help="API keys, one a line; further ones in QWEN3_GATEWAY_API_KEYS (default: open to all)",
    )
    parser.add_argument("--no-access-log", dest="access_log", action="store_false", help="write no line per request")

    triton = parser.add_argument_group("Triton")
    _add(triton, "--triton", "triton", "host:port of gRPC, grpcs://host:port, or http(s)://host:port", metavar="URL")
    triton.add_argument("--triton-token-file", type=Path, metavar="FILE", help="bearer token to show to Triton")
    _add(triton, "--triton-ca", "triton_ca", "authorities that may vouch for Triton", metavar="PEM")
    _add(triton, "--triton-certificate", "triton_certificate", "the gateway's own certificate (mTLS)", metavar="PEM")
    _add(triton, "--triton-key", "triton_key", "its private key", metavar="PEM")
    _add(triton, "--model", "model", "the embedding model, if Triton has several", metavar="NAME")
    _add(triton, "--reranker", "reranker", "the reranker, if Triton has several", metavar="NAME")
    _add(triton, "--tokenizer", "tokenizer", "folder with tokenizer.json, or Hub id, if not what Triton names")
    _add(triton, "--reranker-tokenizer", "reranker_tokenizer", "the same for the reranker")
    _add(triton, "--concurrency", "concurrency", "texts on their way to Triton at once", metavar="N")
    _add(triton, "--timeout", "timeout_s", "seconds for one text", metavar="S")
    for option, what in (("--model-alias", "embedding model"), ("--reranker-alias", "reranker")):
        triton.add_argument(
            option,
            action="append",
            default=[],
            metavar="NAME",
            help=f"another name that requests may use for the {what}, such as the one they use now; repeatable",
        )

    limits = parser.add_argument_group("limits, for each worker")
    _add(limits, "--max-requests", "max_requests", "requests at once", metavar="N")
    limits.add_argument(
        "--max-body",
        type=int,
        default=_DEFAULT.max_body_bytes // _MIB,
        metavar="MIB",
        help="size of a request's body (%(default)s)",
    )
    limits.add_argument(
        "--max-held",
        type=int,
        default=_DEFAULT.max_held_bytes // _MIB,
        metavar="MIB",
        help="size of all bodies at once (%(default)s)",
    )
    _add(limits, "--body-timeout", "body_timeout_s", "seconds for a body to arrive", metavar="S")
    _add(limits, "--max-items", "max_items", "texts in one request", metavar="N")
    _add(limits, "--max-request-tokens", "max_request_tokens", "tokens in one request", metavar="N")
    _add(limits, "--max-pending-items", "max_pending_items", "texts admitted and not yet answered", metavar="N")
    _add(limits, "--max-pending-tokens", "max_pending_tokens", "tokens admitted and not yet answered", metavar="N")


def run(args: argparse.Namespace) -> int:
    """Answer requests until a signal comes; returns the exit code."""
    import fastapi  # noqa: F401 - fail here, with the extra's name, rather than in a worker
    import uvicorn
    from qwen3_client import InvalidInputError

    from ._app import connect
    from ._auth import read_keys
    from ._tracing import is_configured, tracer_provider

    try:
        if (args.tls_certificate is None) != (args.tls_key is None):
            raise SettingsError("--tls-certificate and --tls-key go together")
        if args.workers < 1:
            raise SettingsError(f"--workers must be at least 1, not {args.workers}")
        settings = _settings(args, api_keys=read_keys(args.api_key_file))
        connect(settings)  # sends nothing; what cannot be used is said once, and not by every worker
        if is_configured():
            tracer_provider().shutdown()
    except (SettingsError, InvalidInputError, OSError, UnicodeDecodeError) as error:
        print(f"qwen3-triton gateway: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _leave)
    with _environment(settings, workers=args.workers):
        scheme = "https" if args.tls_certificate else "http"
        print(f"Gateway to {settings.triton} on {scheme}://{args.host}:{args.port}, described at /docs", flush=True)
        uvicorn.run(
            _APP,
            factory=True,
            host=args.host,
            port=args.port,
            workers=args.workers,
            ssl_certfile=args.tls_certificate,
            ssl_keyfile=args.tls_key,
            timeout_graceful_shutdown=args.drain_timeout,
            timeout_keep_alive=_KEEP_ALIVE_S,
            access_log=False,
            server_header=False,
            log_config=None,
        )
    return 0


def _add(group: Any, option: str, field: str, what: str, *, metavar: str | None = None) -> None:  # noqa: ANN401
    """Declares an option that is a field of the settings, with the field's default."""
    default = getattr(_DEFAULT, field)
    shown = f" ({default:g})" if isinstance(default, (int, float)) else f" ({default})" if default else ""
    kind = str if default is None else type(default)
    group.add_argument(option, dest=field, type=kind, default=default, metavar=metavar, help=what + shown)


def _settings(args: argparse.Namespace, *, api_keys: tuple[str, ...]) -> Settings:
    fields = {field.name for field in dataclasses.fields(Settings)}
    values = {name: value for name, value in vars(args).items() if name in fields}
    token = None if args.triton_token_file is None else args.triton_token_file.read_text("utf-8").strip()
    values.update(
        api_keys=api_keys,
        triton_token=token,
        model_aliases=tuple(args.model_alias),
        reranker_aliases=tuple(args.reranker_alias),
        max_body_bytes=args.max_body * _MIB,
        max_held_bytes=args.max_held * _MIB,
    )
    return Settings(**values)


@contextlib.contextmanager
def _environment(settings: Settings, *, workers: int) -> Iterator[None]:
    """Leaves the settings, and a place for the metrics, for the workers to find."""
    variables = {ENVIRONMENT_VARIABLE: settings.to_json()}
    with contextlib.ExitStack() as stack:
        if workers > 1:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="qwen3-gateway-"))
            variables["PROMETHEUS_MULTIPROC_DIR"] = folder
        os.environ.update(variables)
        try:
            yield
        finally:
            for name in variables:
                os.environ.pop(name, None)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    # uvicorn finishes accepted requests first, then raises the signal again for whoever handled it before: a stop that
    # was asked for is a success.
    sys.exit(0)
