"""Exports for TensorRT: a portable graph over padded batches, and a padding front that keeps the tensor contract.

The packed graph is made for ONNX Runtime's kernels. TensorRT needs standard operators and padded batches, so here
transformers' own Qwen3 model is traced by Hugging Face Optimum's exporter. An export passes these modules: `decoder`
fills transformers' model with the weights of a checkpoint, `model` adds pooling and an output to it, `trace` turns it
into ONNX, `traced_graph` cleans that up, and `directories` writes two model directories, one for the plan and one for
the padding front. Later, on the GPU that will run it, `engine` builds a TensorRT plan for the shapes that `profiles`
chooses, and `plan` installs it.

These modules need torch. The rest of the package imports them only when an export asks for `--device tensorrt`.
"""
