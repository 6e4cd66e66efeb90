"""The embedded host, which runs the graph in Triton's python backend, in place of the onnxruntime backend.

`triton_model` speaks with Triton. `packed_engine` runs batches on a CPU, and `prefix_cache` keeps keys and values of
shared prefixes for it; `cuda_engine` runs batches on a GPU, and `captured_engine` does so with CUDA graphs.
`packed_batches` forms them. Triton's worker imports the host from the environment that `qwen3-triton serve` runs in.
"""
