"""The tier itself: what unit tests must do without is out of their reach."""

import importlib
import importlib.util
import sys

import pytest


@pytest.mark.parametrize("library", ["pytriton", "sentence_transformers", "torch", "torch.nn", "transformers"])
def test_a_library_of_other_tiers_cannot_be_imported(library: str) -> None:
    assert library not in sys.modules
    with pytest.raises(ModuleNotFoundError, match="belongs in tests/integration"):
        importlib.import_module(library)


def test_other_libraries_can_be() -> None:
    assert importlib.import_module("onnxruntime").InferenceSession
