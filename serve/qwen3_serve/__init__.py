"""Start the genuine Triton on exported models, without a container.

>>> from qwen3_serve import Triton
>>> with Triton(Path("model_repository")) as triton:  # doctest: +SKIP
...     print(triton.grpc_url, triton.http_url)
"""

from .errors import ServeError
from .triton.server import Triton

__all__ = ["ServeError", "Triton"]
