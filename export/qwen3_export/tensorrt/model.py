"""What makes an embedding model or a reranker of the decoder: masks and positions in front, pooling and a head behind.

The input may be padded on either side: everything is derived from the attention mask, never from a pad token's id,
which in this family is also the token that ends a text.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3Model

_MASKED = -30_000.0  # far below any score, and finite in float16


class _LastToken(nn.Module):
    """The hidden state of each text's last token.

    Args:
        decoder: From `build_decoder`.
    """

    def __init__(self, decoder: Qwen3Model) -> None:
        super().__init__()
        self.decoder = decoder
        self.config: Qwen3Config = decoder.config  # where Optimum looks for it

    def pool(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Decode INT64 `[batch, seq]`, both; float32 `[batch, hidden]`, final norm applied."""
        # Positions count real tokens, row by row, so that padding on the left shifts nothing. In float32, which holds
        # any of them exactly: TensorRT sums up no integers.
        positions = attention_mask.float().cumsum(dim=-1) - 1
        hidden: Tensor = self.decoder(
            input_ids=input_ids,
            attention_mask={"full_attention": _additive_mask(attention_mask)},
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state
        places = torch.arange(input_ids.shape[1])
        last = (attention_mask * places).amax(dim=-1)
        return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0]


class PortableEmbedding(_LastToken):
    """Padded token ids in, one unit vector a text out."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return `pooled`, float32 `[batch, hidden]` of Euclidean norm 1."""
        pooled = self.pool(input_ids, attention_mask)
        # As torch.nn.functional.normalize: the floor keeps a zero vector zero.
        length: Tensor = pooled.norm(dim=-1, keepdim=True)
        return pooled / length.clamp_min(1e-12)


class PortableReranker(_LastToken):
    """Padded prompts in, how likely each is answered "yes" out.

    Args:
        decoder: From `build_decoder`.
        yes: The head's row of "yes", float32 `[hidden]`.
        no: The head's row of "no".
    """

    yes: Tensor
    no: Tensor

    def __init__(self, decoder: Qwen3Model, *, yes: Tensor, no: Tensor) -> None:
        super().__init__(decoder)
        self.register_buffer("yes", yes)
        self.register_buffer("no", no)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return `score` and `logit`, float32 `[batch, 1]`.

        `logit` is logit(yes) - logit(no); its sigmoid, `score`, is the softmax of the two at "yes".
        """
        pooled = self.pool(input_ids, attention_mask)
        # Sums of products rather than matrix products, which TensorRT may compute in TF32.
        yes, no = ((pooled * row).sum(dim=-1, keepdim=True) for row in (self.yes, self.no))
        logit = yes - no
        return logit.sigmoid(), logit


def _additive_mask(attention_mask: Tensor) -> Tensor:
    """What is added to attention's scores, float32 `[batch, 1, seq, seq]`: 0 where a token may look.

    A token of padding on the left may look at nothing: all of its scores are equally low then, and its row, which
    nobody reads, is finite.
    """
    places = torch.arange(attention_mask.shape[1])
    causal = places[None, :] <= places[:, None]
    visible = causal[None, None] & (attention_mask[:, None, None, :] != 0)
    return torch.where(visible, 0.0, _MASKED)
