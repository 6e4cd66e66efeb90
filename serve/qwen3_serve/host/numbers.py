"""Numbers among the parameters of a configuration, whose values are text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

_Number = TypeVar("_Number", int, float)


def number(parameters: Mapping[str, str], name: str, convert: Callable[[str], _Number], *, least: int) -> _Number:
    """Return a parameter as a number.

    Args:
        parameters: The configuration's parameters.
        name: The parameter.
        convert: `int` or `float`.
        least: The smallest number that is accepted.

    Raises:
        ValueError: It is missing, is not a finite number, or is too small.
    """
    stated = parameters.get(name, "")
    with suppress(ValueError):
        value = convert(stated)
        if least <= value < math.inf:
            return value
    raise ValueError(f"the parameter {name} must be a number of at least {least}, not {stated}")
