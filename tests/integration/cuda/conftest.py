"""The environment of these tests: `make test-cuda` installs the releases of onnxruntime-gpu that they are about."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from support.cuda_stub import INSTALLED, build_stubs


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder with the stub libraries for a release."""

    @cache
    def build(release: str) -> Path:
        folder = tmp_path_factory.mktemp(f"stubs-{release}")
        provider = INSTALLED / release / "onnxruntime" / "capi" / "libonnxruntime_providers_cuda.so"
        headers = INSTALLED / "headers" / "nvidia" / "cu13" / "include"
        build_stubs(provider, [headers], folder)
        return folder

    return build
