"""`python -m qwen3_client`: the command `qwen3-triton`, where its script is not on PATH."""

import sys

from .cli.main import main

sys.exit(main())
