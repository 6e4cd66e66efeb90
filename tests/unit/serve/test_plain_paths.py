"""Paths that neither a shell nor a locale changes."""

from pathlib import Path

import pytest
from qwen3_serve.triton.plain_paths import is_plain


@pytest.mark.parametrize("path", ["/a b", "/ü", "/a:b", "/a$b", "/a'b", "/a\nb", "/a;b", "/a~", "/a*"])
def test_what_a_shell_or_a_locale_would_change_is_not_plain(path: str) -> None:
    assert not is_plain(Path(path))
    assert is_plain(Path("/home/user/model_repository-2.0+x@y"))
