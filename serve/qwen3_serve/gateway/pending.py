"""Pending work: the items and tokens that the gateway has accepted and not yet answered, up to a limit.

Accepted items wait in the client's window for their turn at Triton. What would exceed the limit is refused at once, so
that an overloaded gateway answers quickly and its memory stays bounded. This module knows nothing about requests.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from time import monotonic

from .errors import ApiError

_MAX_RETRY_S = 60
_SMOOTHING = 0.2  # weight of the newest answer in the moving average of tokens per second


class PendingWork:
    """The work that is accepted and not yet answered. For one event loop.

    Args:
        max_items: Most items at once.
        max_tokens: Most tokens at once.
        on_change: Called with the pending items and tokens after each change.

    Attributes:
        items: Items pending now.
        tokens: Tokens pending now.
    """

    def __init__(
        self, *, max_items: int, max_tokens: int, on_change: Callable[[int, int], None] = lambda *_: None
    ) -> None:
        self._max_items = max_items
        self._max_tokens = max_tokens
        self._on_change = on_change
        self._tokens_per_s = 0.0
        self._answered_at = monotonic()
        self.items = 0
        self.tokens = 0

    @contextlib.contextmanager
    def reserve(self, items: int) -> Iterator["Reservation"]:
        """Accept a request's items for as long as the block lasts.

        Raises:
            ApiError: With them, too many items would be pending.
        """
        if self.items + items > self._max_items:
            raise self._overloaded()
        reservation = Reservation(self, items)
        self._add(items=items)
        try:
            yield reservation
        finally:
            self._add(items=-items, tokens=-reservation.tokens)

    def reserve_tokens(self, tokens: int) -> None:
        """Accept the tokens of items that are accepted already.

        Raises:
            ApiError: With them, too many tokens would be pending.
        """
        if self.tokens + tokens > self._max_tokens:
            raise self._overloaded()
        self._add(tokens=tokens)

    def record_answer(self, tokens: int) -> None:
        """Update the rate at which tokens are processed, from which `retry_after_s` is estimated."""
        now = monotonic()
        rate = tokens / max(now - self._answered_at, 1e-3)
        self._tokens_per_s += _SMOOTHING * (rate - self._tokens_per_s) if self._tokens_per_s else rate
        self._answered_at = now

    def _add(self, *, items: int = 0, tokens: int = 0) -> None:
        self.items += items
        self.tokens += tokens
        self._on_change(self.items, self.tokens)

    def _overloaded(self) -> ApiError:
        # Once half of what is pending is answered, there is room for most requests.
        wait_s = self.tokens / 2 / self._tokens_per_s if self._tokens_per_s else 1
        return ApiError(
            "overloaded",
            f"the gateway is working on {self.items} items already; try again later, or send less at once",
            retry_after_s=min(max(math.ceil(wait_s), 1), _MAX_RETRY_S),
        )


class Reservation:
    """One request's share of the pending work.

    Attributes:
        items: How many items it has.
        tokens: How many tokens these have; 0 before they are counted.
    """

    def __init__(self, pending: PendingWork, items: int) -> None:
        self._pending = pending
        self.items = items
        self.tokens = 0

    def add_tokens(self, tokens: int) -> None:
        """Accept the items' tokens, once they are counted.

        Raises:
            ApiError: With them, too many tokens would be pending.
        """
        self._pending.reserve_tokens(tokens)
        self.tokens += tokens

    def record_answer(self) -> None:
        """Record that the items were answered."""
        self._pending.record_answer(self.tokens)
