"""The embedded host, which runs the graph in Triton's python backend, in place of the onnxruntime backend.

`triton_model` speaks with Triton, and `batch_progress` tells it which requests it can answer. Engines (`engine`) run
texts: `packed_engine` on a CPU, where `prefix_cache` keeps keys and values of shared prefixes for it, `cuda_engine` on
a GPU, and `captured_engine` there with CUDA graphs. `packed_batches` forms their batches. Triton's worker imports the
host from the environment that `qwen3-triton serve` runs in.
"""
