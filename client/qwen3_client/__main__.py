"""``python -m qwen3_client``: the ``qwen3-triton`` command without its script on PATH."""

import sys

from .cli.main import main

sys.exit(main())
