"""Integrations of the client into other libraries, in one module for each library.

    from qwen3_client.integrations.langchain import Qwen3Embeddings, Qwen3Reranker
    from qwen3_client.integrations.llama_index import Qwen3Embedding, Qwen3Rerank
    from qwen3_client.integrations.haystack import Qwen3DocumentEmbedder, Qwen3Ranker, Qwen3TextEmbedder
    from qwen3_client.integrations.sentence_transformers import SentenceTransformer
    from qwen3_client.integrations.mteb import Qwen3CrossEncoder, Qwen3Encoder
    from qwen3_client.integrations.ray import Qwen3Embedder

Each needs the extra of its name (`pip install 'qwen3-triton[langchain]'`, `[llama-index]`, `[haystack]`, `[mteb]`),
except `sentence_transformers`, which needs none, and `ray`, whose workers need `[bulk]`. This package itself imports
none of these libraries.

Every class takes either `server=`, a URL or `ClientOptions`, and then opens a connection of its own; or `client=`, a
`Client` or an `AsyncClient`, which it leaves open. Calls raise the errors of the client.
"""
