"""`python -m qwen3_serve.gateway` is `qwen3-triton gateway`."""

import argparse
import sys

from . import cli

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="qwen3-triton gateway", description=cli.HELP)
    cli.add_arguments(parser)
    sys.exit(cli.run(parser.parse_args()))
