"""What a host of the TensorRT lane finds beside it: a copy of the module in qwen3_export."""

from qwen3_export.triton_tensors import as_array as as_array
from qwen3_export.triton_tensors import as_tensor as as_tensor
