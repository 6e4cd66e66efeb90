"""Small checkpoints without torch: as good as transformers' own where a test does not ask what the weights compute."""

from pathlib import Path

from qwen3_export.checkpoint.random_checkpoint import write_random_checkpoint
from qwen3_export.checkpoint.tiny import TINY_CONFIG, write_byte_tokenizer


def make_random_checkpoint(folder: Path, *, seed: int = 0, **changes: int) -> Path:
    """Write a checkpoint in shards into ``folder`` and return it.

    Args:
        folder: Made if it is not there.
        seed: The same seed gives the same weights.
        **changes: What differs from the tiny model's config.json, such as ``hidden_size``.
    """
    folder.mkdir(exist_ok=True)
    write_random_checkpoint(folder, TINY_CONFIG | changes, std=1 / 8, seed=seed)
    write_byte_tokenizer(folder)
    return folder
