"""The embedded host, which runs the graph in Triton's python backend, in place of the onnxruntime backend.

`triton_model` speaks with Triton, `packed_engine` forms packed batches and runs them, `prefix_cache` keeps keys and
values of shared prefixes. Triton's worker process imports the host from the environment that `qwen3-triton serve` runs
in.
"""
