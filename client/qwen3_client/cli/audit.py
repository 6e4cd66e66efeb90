"""`qwen3-triton audit`: embed a sample of stored vectors' texts again, and say whether the vectors are the model's.

This module knows nothing about file formats.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .connection import add_server_arguments, open_client
from .errors import UsageError

if TYPE_CHECKING:
    from ..bulk.audit import Agreement, Sample
    from ..client import Client
    from ..contract import ModelInfo
    from ..quantization import Calibration, Dtype

HELP = "embed a sample of stored vectors' texts again, and say whether the vectors are the served model's"
EXTRA: str | None = "bulk"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from ..quantization import DTYPES

    parser.add_argument("vectors", metavar="VECTORS", help="x.parquet or x.npy with vectors, of any program")
    parser.add_argument("--text-column", required=True, metavar="NAME", help="column with the texts")
    parser.add_argument(
        "--vector-column", default="embedding", metavar="NAME", help="column with the vectors (%(default)s)"
    )
    parser.add_argument("--corpus", metavar="PATH", help="file with the texts, if they are not in the vectors' file")
    parser.add_argument(
        "--id-column", metavar="NAME", help="column of ids, by which both files belong together (default: row numbers)"
    )
    parser.add_argument("--sample", type=int, default=100, metavar="N", help="number of rows to compare (%(default)s)")
    add_server_arguments(parser, noun="embedding model")
    stored = parser.add_argument_group(
        "how the vectors were made", "A file that qwen3-triton embed wrote states all of this itself."
    )
    kind = stored.add_mutually_exclusive_group()
    kind.add_argument("--query", dest="kind", action="store_const", const="query", help="the texts are queries")
    kind.add_argument(
        "--document", dest="kind", action="store_const", const="document", help="the texts are documents (default)"
    )
    stored.add_argument("--instruction", help="task of the queries (default: the model's)")
    stored.add_argument("--dtype", choices=DTYPES, help="dtype of the vectors (default: that of their numbers)")
    stored.add_argument(
        "--calibration", metavar="PATH", help="ranges of int8 and uint8 (default: x.calibration.npz beside x.parquet)"
    )
    stored.add_argument(
        "--least-cosine",
        type=float,
        metavar="C",
        help="smallest cosine that still counts as rounding (default: by precision and dtype)",
    )


def run(args: argparse.Namespace) -> int:
    """Compare a sample, and print the result.

    Returns:
        0 if the vectors are the model's, else 1.

    Raises:
        ModuleNotFoundError: the bulk extra is not installed.
    """
    from ..bulk.audit import SUFFIXES, agreement, dtype_of, least_cosine, take_sample
    from ..bulk.description import arithmetic_of, read_description

    path = Path(args.vectors)
    if path.suffix not in SUFFIXES:
        raise UsageError(f"cannot read {path}: the name must end in {' or '.join(SUFFIXES)}")
    if args.sample < 1:
        raise UsageError(f"--sample must be at least 1, not {args.sample}")
    if path.suffix == ".npy" and args.corpus is None:
        raise UsageError("a .npy file holds no texts: name the file with them in --corpus")
    description = read_description(path) or {}
    _check_how(args, description)
    sample = take_sample(
        path,
        count=args.sample,
        vector_column=args.vector_column,
        text_column=args.text_column,
        corpus=None if args.corpus is None else Path(args.corpus),
        id_column=args.id_column,
    )
    dtype = dtype_of(sample.vectors, description.get("dtype", args.dtype))
    with open_client(args, noun="embedding model") as client:
        info = client.info()
        client.async_client._expect(info.fingerprint)
        fresh = _embedded(client, info, sample, description, args, dtype=dtype)
        found = agreement(sample.vectors, fresh, dtype, calibration=_calibration(args, path, dtype))
        stated = description.get("arithmetic")
        same_bits = (
            stated is not None
            and description.get("fingerprint") == info.fingerprint
            and stated == arithmetic_of(client, info)
        )
    bound = least_cosine(info.precision, dtype) if args.least_cosine is None else args.least_cosine
    verdict, is_same = _verdict(description, info, found, bound=bound, same_bits=same_bits)
    made_by = description.get("fingerprint") or "not stated"
    lines = [
        ("vectors", f"{path}, {dtype}, {fresh.shape[1]} dimensions, fingerprint {made_by}"),
        ("served model", f"{info.name}, {info.precision}, fingerprint {info.fingerprint or 'none'}"),
        ("rows sampled", f"{found.rows:,} of {sample.rows:,}"),
        ("equal to the bit", f"{found.equal:,}{', as all must be: the server computes as then' if same_bits else ''}"),
        ("largest difference", f"{found.difference:.2g}"),
        (
            "cosine, smallest",
            f"{found.least_cosine:.7f} at {sample.keys[found.furthest]!r}; at least {bound:.5f} wanted",
        ),
        ("cosine, median", f"{found.median_cosine:.7f}"),
        ("nearest to own text", f"{found.nearest:,}; more than half wanted"),
        ("verdict", verdict),
    ]
    width = max(len(name) for name, _ in lines)
    print("\n".join(f"{name.ljust(width)}  {value}" for name, value in lines))
    return 0 if is_same else 1


def _check_how(args: argparse.Namespace, description: dict[str, Any]) -> None:
    """Check that the arguments do not contradict what the file says, and fill in what it says."""
    for name in ("kind", "instruction", "dtype"):
        given, stated = getattr(args, name), description.get(name)
        if description and given is not None and given != stated:
            raise UsageError(f"the file says that its {name} is {stated!r}, not {given!r}: leave the option out")
    if description and args.special_tokens and not description.get("special_tokens"):
        raise UsageError("the file says that special tokens were read as plain text: leave out --special-tokens")
    args.special_tokens = bool(description.get("special_tokens", args.special_tokens))
    args.kind = description.get("kind", args.kind) or "document"
    if args.instruction is not None and args.kind != "query":
        raise UsageError("--instruction is for queries: add --query")


def _embedded(
    client: "Client",
    info: "ModelInfo",
    sample: "Sample",
    description: dict[str, Any],
    args: argparse.Namespace,
    *,
    dtype: "Dtype",
) -> Any:  # noqa: ANN401 - float32 [n, dimensions]; numpy is not imported before the command runs
    from ..errors import InvalidInputError

    dimensions = sample.vectors.shape[1] * (8 if dtype in ("binary", "ubinary") else 1)
    try:
        info.check_dimensions(dimensions)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"the stored vectors have {dimensions} dimensions, and so are not of the model {info.name!r}: {error}"
        ) from None
    if args.kind == "document":
        return client.encode_document(sample.texts, dimensions=dimensions)
    instruction = description.get("instruction", args.instruction)
    return client.encode_query(sample.texts, instruction=instruction, dimensions=dimensions)


def _calibration(args: argparse.Namespace, path: Path, dtype: "Dtype") -> "Calibration | None":
    from ..quantization import Calibration, needs_calibration
    from ..vector_files import calibration_beside

    if not needs_calibration(dtype):
        return None
    calibration = Path(args.calibration or calibration_beside(path))
    if not calibration.is_file():
        raise UsageError(
            f"{dtype} vectors need the calibration that they were quantized with, and there is no {calibration}: name "
            "it in --calibration, or give --dtype binary or ubinary if a byte holds eight signs"
        )
    return Calibration.load(calibration)


def _verdict(
    description: dict[str, Any], info: "ModelInfo", found: "Agreement", *, bound: float, same_bits: bool
) -> tuple[str, bool]:
    made_by = description.get("fingerprint")
    if made_by is not None and made_by != info.fingerprint:
        return f"no: the file says that its vectors are of the model {made_by}", False
    if not found.least_cosine >= bound:
        return "no: rounding does not explain the difference; another model, other texts, or other options", False
    if not 2 * found.nearest > found.rows:
        return "no: most vectors are nearer to another text than to their own; another model, or other texts", False
    if same_bits and found.equal < found.rows:
        return f"no: {found.rows - found.equal} rows should be equal to the bit, and are not", False
    if found.equal == found.rows:
        return "yes: the sampled vectors are those of the served model, to the bit", True
    return "yes: the sampled vectors are those of the served model, up to rounding", True
