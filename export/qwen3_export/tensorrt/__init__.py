"""The TensorRT lane: a portable graph of padded texts, and a front that keeps the ragged contract.

The packed graph is written by hand for ONNX Runtime's kernels. TensorRT wants standard operators and a rectangle, so
here transformers' own Qwen3 is traced by Hugging Face Optimum's exporter instead. The path, module by module:
`decoder` fills transformers' model from a checkpoint, `heads` puts pooling and a head on it, `trace` turns it
into ONNX, `finish` cleans that up, `directories` writes the two model directories around it; `profiles` and
`engine` make a TensorRT plan of it later, on the GPU that will run it.

Nothing in the rest of the package imports this one until an export asks for `--device tensorrt`: it needs torch.
"""
