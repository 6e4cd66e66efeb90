"""`qwen3-triton reload`: have a running server load what its model directories hold now.

Triton loads the new version while the old one runs, sends all further requests to the new one, and unloads the old one
when its last request is answered. This module knows nothing about what a model directory holds.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract import string_parameters
from ..fingerprint import EARLIER, fingerprint_of
from .connection import add_connection_arguments, options_of
from .errors import UsageError

if TYPE_CHECKING:
    from ..transports.base import Transport

HELP = "have a running server load newly exported versions and models, without a failed request"
EXTRA: str | None = None

_SHORT = 60  # characters of a value that are printed
_ASK_S = 10.0  # time-out of requests that Triton answers without loading anything


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="names of models on the server (default: all that are loaded, and those newly exported to --repository)",
    )
    add_connection_arguments(parser)
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path("model_repository"),
        help="path of the server's model repository on this machine, to find newly exported models (%(default)s); if "
        "it does not exist, only loaded models are reloaded",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=600.0,
        metavar="S",
        help="seconds that loading one model may take (%(default)g)",
    )


def run(args: argparse.Namespace) -> int:
    """Have the models loaded, one after another. If one fails, Triton keeps serving the version that it had."""
    from .. import io_thread
    from ..errors import InferenceError, InvalidInputError, Qwen3ClientError
    from ..session import connect

    options = options_of(args)

    async def reload() -> None:
        transport = connect(options)
        try:
            index = await transport.index(timeout_s=_ASK_S)
            failures: list[Qwen3ClientError] = []
            for model in chosen_models(args.models, index, repository=args.repository):
                try:
                    await _reload(transport, model, timeout_s=args.timeout)
                except (InferenceError, InvalidInputError) as error:
                    failures.append(error)  # which concerns this model only
        finally:
            await transport.close()
        if failures:
            raise failures[0].saying("; ".join(str(failure) for failure in failures))

    io_thread.submit(reload()).result()
    return 0


def chosen_models(named: Sequence[str], index: Sequence[Mapping[str, Any]], *, repository: Path) -> list[str]:
    """Return the names of the models to load.

    Args:
        named: the names that the user gives; none for all models.
        index: Triton's repository index.
        repository: path of the server's model repository on this machine; it need not exist.

    Raises:
        UsageError: a name is not in the server's repository, or there is nothing to load.
    """
    known = list(dict.fromkeys(str(entry["name"]) for entry in index if "name" in entry))
    unknown = [name for name in named if name not in known]
    if unknown:
        there = f"it holds: {', '.join(known)}" if known else "it is empty"
        raise UsageError(f"no model {', '.join(unknown)} in the server's repository; {there}")
    if named:
        return list(dict.fromkeys(named))
    loaded = {str(entry["name"]) for entry in index if entry.get("state") == "READY"}
    # Triton's index also lists folders without a model. If Triton is told to load one, it is never ready again. A model
    # that was unloaded is in the index with its versions, and is not loaded again.
    states = {str(entry["name"]) for entry in index if entry.get("state")}
    fresh = [name for name in known if name not in states and _is_exported(repository / name)]
    for name in known:
        if name not in loaded and name not in fresh:
            print(f"{name}: not loaded; `qwen3-triton reload {name}` loads it if it was exported", flush=True)
    if not loaded and not fresh:
        raise UsageError("the server has loaded no model; name the models to load")
    return [name for name in known if name in loaded or name in fresh]


def _is_exported(model: Path) -> bool:
    return (model / "manifest.json").is_file()


async def _reload(transport: "Transport", model: str, *, timeout_s: float) -> None:
    from ..transports.base import ready_versions

    before = ready_versions(await transport.index(timeout_s=_ASK_S), model)
    old = _facts(await transport.model_config(model, timeout_s=_ASK_S)) if before else None
    started = time.monotonic()
    await transport.load(model, timeout_s=timeout_s)
    seconds = time.monotonic() - started
    after = ready_versions(await transport.index(timeout_s=_ASK_S), model)
    new = _facts(await transport.model_config(model, timeout_s=_ASK_S))
    computed = f" ({new['precision']})" if new.get("precision") else ""
    earlier = f"before, {_named(before)}" if before else "it was not loaded before"
    print(f"{model}: {_named(after)}{computed} ready after {seconds:.1f} s; {earlier}", flush=True)
    for line in [] if old is None else _changes(old, new):
        print(f"  {line}", flush=True)


def _facts(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what a model's config tells about the model, with its fingerprint as clients compute it."""
    facts = {key: value for key, value in string_parameters(config).items() if key != EARLIER}
    return facts | {"fingerprint": fingerprint_of(facts) or "none"}


def _changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return a line for each fact that differs, the fingerprint first."""
    keys = ["fingerprint", *sorted((old.keys() | new.keys()) - {"fingerprint"})]
    lines = [f"{key}: {_shown(new, key)}, was {_shown(old, key)}" for key in keys if old.get(key) != new.get(key)]
    if lines and old["fingerprint"] != new["fingerprint"]:
        lines.append("vectors and scores of the two cannot be compared; clients follow within some seconds")
    return lines


def _shown(facts: Mapping[str, str], key: str) -> str:
    if key not in facts:
        return "not stated"
    value = facts[key]
    return value if key == "fingerprint" else repr(value if len(value) <= _SHORT else f"{value[:_SHORT]}...")


def _named(versions: list[int]) -> str:
    if not versions:
        return "no version"
    return f"version{'s' if len(versions) > 1 else ''} {', '.join(map(str, versions))}"
