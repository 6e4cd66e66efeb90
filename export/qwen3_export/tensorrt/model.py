"""The portable embedding model and reranker: the decoder with its positions, pooling, and outputs.

The input is padded on the right. Causal attention then keeps padding out of all tokens, since it comes after them, and
no mask is needed. The attention mask says which tokens are pooled, and the id of the pad token nothing, because in this
family the same token ends a text.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3Model


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
            attention_mask: INT64 `[batch, seq]`: 1 for a token, 0 for the padding after it.
        """
        columns = torch.arange(input_ids.shape[1])
        hidden: Tensor = self.decoder(
            input_ids=input_ids,
            attention_mask={"full_attention": None},
            position_ids=columns[None].float(),
            use_cache=False,
        ).last_hidden_state
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
