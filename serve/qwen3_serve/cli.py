"""`qwen3-triton serve`: the command line of `qwen3_serve.Triton`."""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from .gateway_options import add_gateway_options
from .triton.ports import is_loopback, port_number
from .triton.text_tensors import TextTensors, tensor_names

if TYPE_CHECKING:
    from .gateway_process import Gateway
    from .triton.server import Triton

HELP = "start Triton on an exported model repository"
EXTRA = "serve"

_SATURATES = (
    "qwen3-triton serve: warning: int8 results are inaccurate: this processor has no VNNI, so int8 sums saturate in "
    "Triton's onnxruntime backend. Leave out --tritonserver, because the embedded host computes them exactly, or "
    "export with --precision int8-weight"
)

_EXPOSED = (
    "qwen3-triton serve: warning: other machines can reach Triton on {host}, which checks neither keys nor "
    "rights{known}. Expose the gateway instead: leave --host out and add --gateway --gateway-host {host} "
    "--gateway-api-key-file KEYS"
)
# The wheel carries Triton 24.10. Source: NVIDIA's security bulletins, which docs/operate.md names.
_KNOWN = ", and this Triton lacks the fixes of published vulnerabilities (docs/operate.md)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path("model_repository"),
        help="Triton's model repository (%(default)s)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--http-port", type=port_number, default=8000, help="HTTP port (%(default)s)")
    parser.add_argument("--grpc-port", type=port_number, default=8001, help="gRPC port (%(default)s)")
    parser.add_argument(
        "--metrics-port", type=port_number, default=8002, help="port of the Prometheus metrics (%(default)s)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="threads of one operator; 0 for all cores (%(default)s)",
    )
    parser.add_argument(
        "--tritonserver",
        type=Path,
        metavar="PATH",
        help="another Triton than the one in the nvidia-pytriton wheel",
    )
    parser.add_argument(
        "--check",
        choices=("quick", "full"),
        default="quick",
        help="compare the files with the manifest first: quick for sizes and small files, full for every byte "
        "(%(default)s)",
    )
    parser.add_argument(
        "--text",
        nargs="?",
        type=tensor_names,
        const=TextTensors(),
        metavar="INPUT:OUTPUT",
        help="serve models that take texts too, such as qwen3_embedding_text, for Triton clients without a tokenizer; "
        "their tensors have the names input_text:embedding unless others are given",
    )
    parser.add_argument("--gateway", action="store_true", help="start the HTTP gateway too, in front of this Triton")
    parser.add_argument(
        "--drain-timeout",
        type=int,
        default=10,
        metavar="S",
        help="seconds to finish accepted requests when stopping; Triton waits for idle HTTP connections too "
        "(%(default)s)",
    )
    parser.add_argument(
        "triton_arguments",
        nargs="*",
        metavar="-- TRITON ARGUMENTS",
        help="further arguments for tritonserver, such as: -- --cache-config=local,size=268435456",
    )
    add_gateway_options(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal arrives; return the exit code."""
    from qwen3_export.cpu import int8_sums_saturate
    from qwen3_export.onnx_runtime import runtime

    runtime()  # the host needs ONNX Runtime: if it is missing, name the extra here rather than fail inside Triton

    from .errors import ServeError
    from .gateway_options import gateway_options
    from .gateway_process import Gateway, first_to_end
    from .triton.ports import choose_ports
    from .triton.server import Triton

    if args.triton_arguments and not args.triton_arguments[0].startswith("-"):
        print(f"qwen3-triton serve: there is no argument {args.triton_arguments[0]}; see --help", file=sys.stderr)
        return 2
    if args.gateway_options and not args.gateway:
        given = args.gateway_options[0].partition("=")[0].removeprefix("--")
        print(f"qwen3-triton serve: --gateway-{given} needs --gateway", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    started = time.monotonic()
    triton = Triton(
        args.repository,
        host=args.host,
        http_port=args.http_port,
        grpc_port=args.grpc_port,
        metrics_port=args.metrics_port,
        threads=args.threads,
        tritonserver=args.tritonserver,
        check=args.check,
        drain_timeout_s=args.drain_timeout,
        echo_log=True,
        arguments=args.triton_arguments,
        text=args.text,
        report=_say,
    )
    try:
        if args.gateway:  # errors in its options are reported before Triton loads, which may take minutes
            options = gateway_options(args.gateway_options, host=args.host, drain_timeout_s=args.drain_timeout)
            choose_ports(options.host, {"gateway": options.port})
        print(f"Loading {args.repository} ...", file=sys.stderr, flush=True)
        if not is_loopback(args.host):
            known = _KNOWN if args.tritonserver is None else ""
            print(_EXPOSED.format(host=args.host, known=known), file=sys.stderr, flush=True)
        with triton, contextlib.ExitStack() as stack:
            gateway = None
            if args.gateway:
                # Inside Triton's block, so that it finishes its requests before Triton stops.
                gateway = stack.enter_context(Gateway(triton.grpc_url, options))
            models = triton.models()
            print(_ready(triton, models, time.monotonic() - started, args.grpc_port, gateway), flush=True)
            precisions = {about["precision"] for about in models.values()}
            if "int8" in precisions and not triton.embedded and int8_sums_saturate():
                print(_SATURATES, file=sys.stderr, flush=True)
            try:
                name, code = first_to_end(triton, gateway)
            except KeyboardInterrupt:
                print("Stopping. Press Ctrl-C again to stop at once.", file=sys.stderr, flush=True)
                raise
            print(f"qwen3-triton serve: {name} ended by itself, exit code {code}", file=sys.stderr)
            return 1
    except ServeError as error:
        print(f"qwen3-triton serve: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 0


def _ready(
    triton: "Triton", models: Mapping[str, Mapping[str, str]], seconds: float, grpc_port: int, gateway: "Gateway | None"
) -> str:
    from qwen3_export.cpu import instruction_sets

    described = [
        f"{name}: {about['model_family']} {about['model_size']}, "
        + (f"{about['dimensions']} dimensions, " if "dimensions" in about else "")
        + about["precision"]
        + (f" on {', '.join(instruction_sets())}" if about["device"] == "cpu" else "")
        + (f"; attention: {attention}" if (attention := triton.attention_of(name)) else "")
        for name, about in models.items()
    ]
    url = "" if grpc_port == 8001 else f"--url {triton.grpc_url} "
    return "\n".join(
        [
            f"Triton {triton.server_version()} is ready after {seconds:.1f} s",
            "",
            f"  gRPC     {triton.grpc_url}",
            f"  HTTP     {triton.http_url}",
            f"  metrics  {triton.metrics_url}",
            *([f"  gateway  {gateway.url}"] if gateway else []),
            *(f"  model    {model}" for model in described),
            *(f"  text     {name}" for name in triton.text_models),
            "",
            f'Next: qwen3-triton embed {url}--query "What is the capital of China?"',
            "Stop: Ctrl-C",
        ]
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
