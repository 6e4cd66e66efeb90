"""`demo`: a small trained checkpoint that comes with the package, to see sensible answers without a download.

It is an embedding model of the form of Qwen3-Embedding. Its folder, `qwen3_export/demo`, has a model card that says
what it was made of, and how good it is; `examples/demo_model` is the program that made it.
"""

from pathlib import Path

DEMO = "demo"  # the name that stands for it where a checkpoint is named


def demo_folder() -> Path:
    """Return the folder with its files."""
    return Path(__file__).parents[1] / DEMO
