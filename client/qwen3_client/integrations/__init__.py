"""Adapters: the client in the shape that other libraries ask for, one module for each library.

    from qwen3_client.integrations.langchain import Qwen3Embeddings, Qwen3Reranker
    from qwen3_client.integrations.llama_index import Qwen3Embedding, Qwen3Rerank
    from qwen3_client.integrations.haystack import Qwen3DocumentEmbedder, Qwen3Ranker, Qwen3TextEmbedder
    from qwen3_client.integrations.sentence_transformers import SentenceTransformer
    from qwen3_client.integrations.mteb import Qwen3CrossEncoder, Qwen3Encoder

Each needs the extra of its name (`pip install 'qwen3-triton[langchain]'`, `[llama-index]`, `[haystack]`, `[mteb]`), but
for `sentence_transformers`, which needs nothing more. This package itself imports none of them.

All take `url=` with a few of the client's options, or a ready `client=`, which they leave open; and all raise
the client's errors.
"""

__all__: list[str] = []
