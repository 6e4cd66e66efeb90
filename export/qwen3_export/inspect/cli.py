"""`qwen3-triton inspect`: the command line of `inspect_source`."""

import argparse
import json
import sys

from ..options import add_source_arguments

HELP = "print what `export` would write, or why it refuses, without reading the weights"
EXTRA = "export"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_source_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object for programs")


def run(args: argparse.Namespace) -> int:
    """Print a table or a JSON object; returns 0 if the checkpoint can be exported, else 1."""
    from ..plan import Request
    from .inspection import inspect_source
    from .report import as_json, as_text

    request = Request(
        source=args.source,
        kind=args.kind,
        device=args.device,
        precision=args.precision,
        ort_version=args.ort_version,
        attention=args.attention,
        revision=args.revision,
        adapter=args.adapter,
        dimensions=args.dimensions,
    )
    try:
        inspection = inspect_source(request)
    except OSError as error:
        print(f"qwen3-triton inspect: {error}", file=sys.stderr)
        return 1
    print(json.dumps(as_json(inspection), indent=2, ensure_ascii=False) if args.json else as_text(inspection))
    return 1 if inspection.refusals else 0
