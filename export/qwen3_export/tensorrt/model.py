"""The portable embedding model and reranker: the decoder with its mask and positions, pooling, and outputs.

The input may be padded on either side. Everything is derived from the attention mask and nothing from the id of the pad
token, because in this family the same token ends a text.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3Model

_MASKED = -30_000.0  # far below any score, and finite in float16


class _LastTokenPooling(nn.Module):
    """Decoding, and pooling of each text's last token.

    Args:
        decoder: From `build_decoder`.
    """

    def __init__(self, decoder: Qwen3Model) -> None:
        super().__init__()
        self.decoder = decoder
        self.config: Qwen3Config = decoder.config  # Optimum reads it

    def pool(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the last token's hidden state after the final norm, float32 `[batch, hidden]`.

        Args:
            input_ids: INT64 `[batch, seq]`.
            attention_mask: INT64 `[batch, seq]`: 1 for a token, 0 for padding.
        """
        # Positions count a row's tokens without padding, so that padding on the left does not shift them. They are
        # float32, because TensorRT has no cumulative sum of integers, and float32 is exact for all of them.
        positions = attention_mask.float().cumsum(dim=-1) - 1
        hidden: Tensor = self.decoder(
            input_ids=input_ids,
            attention_mask={"full_attention": _additive_mask(attention_mask)},
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state
        columns = torch.arange(input_ids.shape[1])
        last = (attention_mask * columns).amax(dim=-1)
        return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0]


class PortableEmbedding(_LastTokenPooling):
    """The embedding model: padded token ids in, one unit vector per text out."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return `pooled`, float32 `[batch, hidden]` of Euclidean norm 1."""
        pooled = self.pool(input_ids, attention_mask)
        # Like torch.nn.functional.normalize: the lower bound keeps a zero vector zero.
        length: Tensor = pooled.norm(dim=-1, keepdim=True)
        return pooled / length.clamp_min(1e-12)


class PortableReranker(_LastTokenPooling):
    """The reranker: padded prompts in, the probability that each is answered "yes" out.

    Args:
        decoder: From `build_decoder`.
        yes: The row of "yes" in lm_head, float32 `[hidden]`.
        no: The row of "no" in lm_head, likewise.
    """

    yes: Tensor
    no: Tensor

    def __init__(self, decoder: Qwen3Model, *, yes: Tensor, no: Tensor) -> None:
        super().__init__(decoder)
        self.register_buffer("yes", yes)
        self.register_buffer("no", no)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return `score` and `logit`, float32 `[batch, 1]`.

        `logit` is logit(yes) - logit(no); its sigmoid, `score`, equals the softmax over both logits, at "yes".
        """
        pooled = self.pool(input_ids, attention_mask)
        # Elementwise products and a sum instead of a matrix product, which TensorRT may compute in TF32.
        yes, no = ((pooled * row).sum(dim=-1, keepdim=True) for row in (self.yes, self.no))
        logit = yes - no
        return logit.sigmoid(), logit


def _additive_mask(attention_mask: Tensor) -> Tensor:
    """Return what is added to the scores of attention, float32 `[batch, 1, seq, seq]`: 0 where a token may attend.

    Padding on the left may attend to nothing. As the mask's other value is finite, all its scores are equally low then
    and its output is finite; nothing reads it.
    """
    columns = torch.arange(attention_mask.shape[1])
    causal = columns[None, :] <= columns[:, None]
    visible = causal[None, None] & (attention_mask[:, None, None, :] != 0)
    return torch.where(visible, 0.0, _MASKED)
