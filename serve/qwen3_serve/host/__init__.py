"""The embedded host: what Triton's python backend runs in place of the onnxruntime backend.

``triton_model`` speaks with Triton, ``packed_engine`` cuts batches and runs them, ``prefix_cache`` keeps what texts
share. Triton's worker process imports it from the environment that ``qwen3-triton serve`` runs in.
"""
