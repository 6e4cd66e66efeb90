"""Unit tests run where neither torch nor Triton is installed: for them, the libraries below do not exist."""

import contextlib
import sys
from collections.abc import Generator, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import pytest

# nvidia-pytriton is pytriton's distribution; the others bring torch.
ABSENT = frozenset({"optimum", "pytriton", "sentence_transformers", "torch", "transformers"})
UNIT = Path(__file__).parent

Result = TypeVar("Result")


class _Refusal(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if _is_absent(fullname):
            raise ModuleNotFoundError(
                f"unit tests do without {fullname}: a test that needs it belongs in tests/integration", name=fullname
            )
        return None


@contextlib.contextmanager
def _absent() -> Iterator[None]:
    """Make the libraries unknown, also if a test of another tier has loaded them in this process."""
    loaded = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_absent(name)}
    refusal = _Refusal()
    sys.meta_path.insert(0, refusal)
    try:
        yield
    finally:
        sys.meta_path.remove(refusal)
        sys.modules.update(loaded)


def _is_absent(module: str) -> bool:
    return module.partition(".")[0] in ABSENT


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Result, Result]:  # of what lies in this folder
    with _absent():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Result, Result]:  # of every test in the process
    with _absent() if UNIT in item.path.parents else contextlib.nullcontext():
        return (yield)
