"""The declared model: Qwen3 as an ONNX graph over concatenated texts. Start with `model`."""
