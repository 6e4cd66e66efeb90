"""What the padding front finds beside it: a copy of the module in qwen3_export."""

from qwen3_export.triton_requests import RequestCheck as RequestCheck
from qwen3_export.triton_requests import error_response as error_response
