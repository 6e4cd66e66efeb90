"""`python -m qwen3_gateway` is `qwen3-triton gateway`."""

import argparse
import sys

from . import _gateway_command

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="qwen3-triton gateway", description=_gateway_command.HELP)
    _gateway_command.add_arguments(parser)
    sys.exit(_gateway_command.run(parser.parse_args()))
