"""What transformers computes from the same weights: the reference of every fidelity test.

The libraries are imported where they are used: random texts are also for environments without torch.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


def reference_embeddings(folder: Path, texts: Sequence[Ids], *, dtype: str = "float32") -> Vectors:
    """Embed each text alone in a torch type: last token, unit norm. Returns float32 ``[n, hidden]``."""
    import torch
    from transformers import Qwen3Model

    model = Qwen3Model.from_pretrained(folder, dtype=getattr(torch, dtype))
    rows = []
    with torch.inference_mode():
        for ids in texts:
            last = model(torch.from_numpy(ids)[None]).last_hidden_state[0, -1].float()
            rows.append(torch.nn.functional.normalize(last, dim=-1).numpy())
    return np.stack(rows)


def reference_logits(folder: Path, prompts: Sequence[Ids], *, yes: int, no: int) -> Vectors:
    """logit(yes) - logit(no) at each prompt's last position, each prompt alone in float32. Returns ``[n]``."""
    import torch
    from transformers import Qwen3ForCausalLM

    model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    values = []
    with torch.inference_mode():
        for ids in prompts:
            last = model(torch.from_numpy(ids)[None]).logits[0, -1]
            values.append(float(last[yes] - last[no]))
    return np.array(values, np.float32)


def random_texts(lengths: Sequence[int], *, vocabulary: int = 257, seed: int = 0) -> list[Ids]:
    """Random token ids, one array a text, the last id being the tokenizer's end token."""
    random = np.random.default_rng(seed)
    texts = [random.integers(0, vocabulary - 1, length, dtype=np.int64) for length in lengths]
    for ids in texts:
        ids[-1] = vocabulary - 1
    return texts
