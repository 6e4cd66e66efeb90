"""What Triton's python backend loads: the embedded host of the installed qwen3-triton.

It lives in the package, so that a newer host needs no new export.
"""

from qwen3_serve.host.triton_model import TritonPythonModel as TritonPythonModel
