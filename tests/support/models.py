"""Names that the shared server's models have, by precision."""

MODELS = {"fp32": "qwen3_embedding", "int8": "qwen3_embedding_int8"}
