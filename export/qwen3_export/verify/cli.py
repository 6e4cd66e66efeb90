"""`qwen3-triton verify`: the command line of `qwen3_export.verify.verify_model` and `check_files`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import VerifyError

HELP = "check that exported models compute what their checkpoints compute"
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
    parser.add_argument("--name", help="the model to verify (default: all exported models of the repository)")
    parser.add_argument(
        "--source",
        metavar="CHECKPOINT",
        help="folder or Hub id of the checkpoint to compare with (default: the one that the model was exported from)",
    )
    parser.add_argument(
        "--url",
        nargs="?",
        const=os.environ.get(_URL_VARIABLE) or _URL,
        metavar="HOST:PORT",
        help="compare the answers of the running server at this gRPC address, instead of running model.onnx here "
        f"(--url without a value: ${_URL_VARIABLE}, or {_URL})",
    )
    parser.add_argument(
        "--files",
        action="store_true",
        help="only compare every file with manifest.json, which needs no checkpoint, torch or ONNX Runtime",
    )
    parser.add_argument(
        "--tuned-configs", action="store_true", help="accept config.pbtxt files that you edited after the export"
    )
    parser.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help="length of the longest built-in text (default: 4096, or the model's limit if that is less)",
    )


def run(args: argparse.Namespace) -> int:
    """Verify models; returns 0 if all of them passed, 1 if not, 2 for wrong usage."""
    complaint = _wrong_usage(args)
    if complaint is not None:
        _say(complaint)
        return _USAGE
    from .model_directory import find_models

    try:
        directories = find_models(args.repository, name=args.name)
        check = _check_files if args.files else _verify
        passed: list[bool] = []
        for directory in directories:  # a model that fails does not keep the others from being verified
            if passed and not args.files:
                print()
            passed.append(check(directory, args))
    except VerifyError as error:
        _say(str(error))
        return _FAIL
    except KeyboardInterrupt:
        _say("stopped before the end; no verdict")
        return 130
    if len(passed) > 1:
        print(f"{sum(passed)} of {len(passed)} models pass.")
    return _PASS if all(passed) else _FAIL


def _wrong_usage(args: argparse.Namespace) -> str | None:
    if args.files and (args.source or args.url or args.max_tokens is not None):
        return "--files compares files only: leave out --source, --url and --max-tokens, or leave out --files"
    if args.max_tokens is not None and args.max_tokens < 1:
        return f"--max-tokens must be at least 1, not {args.max_tokens}"
    if args.url is not None:
        args.url = args.url.removeprefix("grpc://")
        port = args.url.rpartition(":")[2]
        if "/" in args.url or not port.isdecimal():
            return f"--url takes the host:port of gRPC, such as {_URL}, not {args.url}"
        if not 1 <= int(port) <= _LAST_PORT:
            return f"--url {args.url}: there is no port {port}; ports are from 1 to {_LAST_PORT}"
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
        _say(f"not enough memory to verify {directory.name}; lower --max-tokens, or use a larger machine")
        return False
    if verdict.comparisons:
        from qwen3_export.cpu import graph_to_run, instruction_sets

        # With --url, another machine computes, so its processor is not known.
        here = ", ".join(instruction_sets()) or "an unknown processor"
        what = f"{graph_to_run(verdict.model.graph).name} on {here}" if args.url is None else args.url
        print(
            f"{directory.name} ({verdict.model.precision}, {what}) compared with {verdict.library} on {verdict.source} "
            "in float32\n"
        )
        print(table(verdict.comparisons, kind=verdict.model.kind), end="\n\n")
    print(verdict_lines(verdict), flush=True)
    return verdict.passed


@contextmanager
def _bars(what: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar for a stage, if stderr is a terminal."""
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
    # The message of a server or of transformers may have several lines; print it as one.
    print(f"qwen3-triton verify: {' '.join(message.split())}", file=sys.stderr)
