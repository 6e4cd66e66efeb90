"""`qwen3-triton verify`: the command line of `qwen3_export.verify.verify_model` and `check_files`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import VerifyError

HELP = "prove that exported models compute what their checkpoints compute"
EXTRA = "verify"

_URL_VARIABLE = "QWEN3_TRITON_URL"
_URL = "localhost:8001"
_LAST_PORT = 65535
_PASS, _FAIL, _USAGE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path("model_repository"),
        help="Triton's model repository (%(default)s)",
    )
    parser.add_argument("--name", help="one model of it (default: every exported one)")
    parser.add_argument(
        "--source",
        metavar="CHECKPOINT",
        help="folder or Hub id of the checkpoint to compare with (default: the one it was exported from)",
    )
    parser.add_argument(
        "--url",
        nargs="?",
        const=os.environ.get(_URL_VARIABLE) or _URL,
        metavar="HOST:PORT",
        help="gRPC of a running server: compare its answers, not model.onnx run here (--url alone: what "
        f"{_URL_VARIABLE} holds, or else {_URL})",
    )
    parser.add_argument(
        "--files",
        action="store_true",
        help="only check every file against manifest.json; needs no checkpoint, torch or ONNX Runtime",
    )
    parser.add_argument(
        "--tuned-configs", action="store_true", help="accept config.pbtxt files that you edited after the export"
    )
    parser.add_argument(
        "--max-tokens", type=int, metavar="N", help="longest built-in text (default: 4096, or the model's own limit)"
    )


def run(args: argparse.Namespace) -> int:
    """Verify; returns 0 if everything passed, 1 if not, 2 for wrong usage."""
    complaint = _wrong_usage(args)
    if complaint is not None:
        _say(complaint)
        return _USAGE
    from .model_directory import find_models

    try:
        directories = find_models(args.repository, name=args.name)
        check = _check_files if args.files else _verify
        passed: list[bool] = []
        for directory in directories:  # each, whatever becomes of those before it
            if passed and not args.files:
                print()
            passed.append(check(directory, args))
    except VerifyError as error:
        _say(str(error))
        return _FAIL
    except KeyboardInterrupt:
        _say("stopped; nothing is proven")
        return 130
    if len(passed) > 1:
        print(f"{sum(passed)} of {len(passed)} models pass.")
    return _PASS if all(passed) else _FAIL


def _wrong_usage(args: argparse.Namespace) -> str | None:
    if args.files and (args.source or args.url or args.max_tokens is not None):
        return "--files compares nothing but files: leave out --source, --url and --max-tokens, or leave out --files"
    if args.max_tokens is not None and args.max_tokens < 1:
        return f"--max-tokens must be at least 1, not {args.max_tokens}"
    if args.url is not None:
        args.url = args.url.removeprefix("grpc://")
        port = args.url.rpartition(":")[2]
        if "/" in args.url or not port.isdecimal():
            return f"--url takes host:port of gRPC, such as {_URL}, not {args.url}"
        if not 1 <= int(port) <= _LAST_PORT:
            return f"--url {args.url}: there is no port {port}; ports are 1 to {_LAST_PORT}"
    return None


def _check_files(directory: Path, args: argparse.Namespace) -> bool:
    from .files import check_files
    from .model_directory import read_model
    from .report import file_lines

    try:
        report = check_files(read_model(directory), tuned_configs=args.tuned_configs, progress=_bars)
    except VerifyError as error:
        _say(str(error))
        return False
    print(file_lines(directory.name, report), flush=True)
    return report.passed


def _verify(directory: Path, args: argparse.Namespace) -> bool:
    from .report import table, verdict_lines
    from .verification import DEFAULT_MAX_TOKENS, verify_model

    try:
        verdict = verify_model(
            directory,
            source=args.source,
            url=args.url,
            max_tokens=args.max_tokens or DEFAULT_MAX_TOKENS,
            tuned_configs=args.tuned_configs,
            progress=_bars,
        )
    except VerifyError as error:
        _say(str(error))
        return False
    except MemoryError:
        _say(f"memory does not suffice to verify {directory.name}; see --max-tokens, or use a larger machine")
        return False
    if verdict.comparisons:
        from qwen3_export.cpu import instruction_sets

        # A server's processor may be another one.
        here = ", ".join(instruction_sets()) or "an unknown processor"
        what = f"model.onnx on {here}" if args.url is None else args.url
        print(
            f"{directory.name} ({verdict.model.precision}, {what}) against transformers on {verdict.source}, float32\n"
        )
        print(table(verdict.comparisons, kind=verdict.model.kind), end="\n\n")
    print(verdict_lines(verdict), flush=True)
    return verdict.passed


@contextmanager
def _bars(what: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal for each stage; nothing elsewhere."""
    from tqdm import tqdm

    with tqdm(
        total=total,
        desc=what,
        unit=unit,
        unit_scale=True,
        disable=None,
        leave=False,
        file=sys.stderr,
    ) as bar:

        def advance(done: int) -> None:
            bar.update(done)

        yield advance


def _say(message: str) -> None:
    # One line, whatever a server or transformers put into it.
    print(f"qwen3-triton verify: {' '.join(message.split())}", file=sys.stderr)
