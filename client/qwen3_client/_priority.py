"""Which requests go first where requests wait: in this client for a place on the way, in Triton's queue for a batch.

Somebody waits for the answer to a query; a corpus is in no such hurry.
"""

from typing import Final, Literal, TypeAlias

from ._errors import InvalidInputError

__all__ = ["LEVELS", "Priority", "checked_priority"]

Priority: TypeAlias = Literal["interactive", "bulk"]

# As Triton counts, where 1 goes first. A server whose config.pbtxt has no priority_levels takes no notice.
LEVELS: Final[dict[Priority, int]] = {"interactive": 1, "bulk": 2}


def checked_priority(priority: Priority | None, *, default: Priority) -> Priority:
    """Returns a priority, or the default in place of None.

    Raises:
        InvalidInputError: it is none.
    """
    if priority is None:
        return default
    if priority not in LEVELS:
        raise InvalidInputError(f"priority must be {' or '.join(map(repr, LEVELS))}, not {priority!r}")
    return priority
