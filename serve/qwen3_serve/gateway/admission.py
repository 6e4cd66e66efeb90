"""How much is taken on: a bounded number of items and tokens, and no more until some of it is answered.

What is admitted waits in the client's window for its turn at Triton; what is not is refused at once, so that an
overloaded gateway answers quickly and its memory stays bounded. This module knows nothing about requests.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from time import monotonic

from .errors import Failure

__all__ = ["Admission", "Ticket"]

_LONGEST_RETRY_S = 60
_SMOOTHING = 0.2  # weight of the newest answer in the estimate of tokens a second


class Admission:
    """The work that is admitted and not yet answered. For one event loop.

    Args:
        max_items: most items at once.
        max_tokens: most tokens at once.
        watch: is told the items and the tokens after each change.
    """

    def __init__(self, *, max_items: int, max_tokens: int, watch: Callable[[int, int], None] = lambda *_: None) -> None:
        self._max_items = max_items
        self._max_tokens = max_tokens
        self._watch = watch
        self._tokens_per_s = 0.0
        self._answered_at = monotonic()
        self.items = 0
        self.tokens = 0

    @contextlib.contextmanager
    def admit(self, items: int) -> Iterator["Ticket"]:
        """Takes on some items for as long as the block lasts.

        Raises:
            Failure: they would be too many with those that are there.
        """
        if self.items + items > self._max_items:
            raise self._overloaded()
        ticket = Ticket(self, items)
        self.add(items=items)
        try:
            yield ticket
        finally:
            self.add(items=-items, tokens=-ticket.tokens)

    def add(self, *, items: int = 0, tokens: int = 0) -> None:
        """Counts what came, or what went."""
        self.items += items
        self.tokens += tokens
        self._watch(self.items, self.tokens)

    def admit_tokens(self, tokens: int) -> None:
        """Takes on the tokens of items that are admitted.

        Raises:
            Failure: they would be too many with those that are there.
        """
        if self.tokens + tokens > self._max_tokens:
            raise self._overloaded()
        self.add(tokens=tokens)

    def note_answered(self, tokens: int) -> None:
        """Learns from an answer how quickly tokens are worked off, which tells when to try again."""
        now = monotonic()
        rate = tokens / max(now - self._answered_at, 1e-3)
        self._tokens_per_s += _SMOOTHING * (rate - self._tokens_per_s) if self._tokens_per_s else rate
        self._answered_at = now

    def _overloaded(self) -> Failure:
        # Half of what is pending makes room for most requests.
        wait_s = self.tokens / 2 / self._tokens_per_s if self._tokens_per_s else 1
        return Failure(
            "overloaded",
            f"the gateway is working on {self.items} items already; try again later, or send less at once",
            retry_after_s=min(max(math.ceil(wait_s), 1), _LONGEST_RETRY_S),
        )


class Ticket:
    """The admission of one request's items.

    Attributes:
        items: how many there are.
        tokens: how many tokens they turned out to have.
    """

    def __init__(self, admission: Admission, items: int) -> None:
        self._admission = admission
        self.items = items
        self.tokens = 0

    def add_tokens(self, tokens: int) -> None:
        """Takes on the items' tokens, once they are counted.

        Raises:
            Failure: they would be too many with those that are there.
        """
        self._admission.admit_tokens(tokens)
        self.tokens += tokens

    def answered(self) -> None:
        """Notes that the items are answered."""
        self._admission.note_answered(self.tokens)
