"""The model that Triton's python backend loads: the embedded host of the installed qwen3-triton.

It is imported from the package, so that an update of the host needs no new export.
"""

from qwen3_serve.host.triton_model import TritonPythonModel as TritonPythonModel
