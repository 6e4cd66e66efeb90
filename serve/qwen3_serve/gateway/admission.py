"""The limits that a request must keep, and the words in which it is refused.

Items are accepted into the pending work before they are tokenized, and their tokens once these are counted. This module
knows nothing about models.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence

from qwen3_client import EmptyTextError, InvalidInputError, TextTooLongError, TokenRow, TooManyTokensError

from .errors import ApiError
from .exchange import Exchange
from .inputs import empty_text, text_too_long
from .pending import PendingWork, Reservation

_CONCURRENT_TOKENIZATIONS = 2  # requests


class Admission:
    """Accepts or refuses requests. For one event loop.

    Args:
        pending: The work that is accepted and not yet answered.
        max_items: Most items of one request.
        max_tokens: Most tokens of one request.

    Attributes:
        max_tokens: Most tokens of one request.
    """

    def __init__(self, pending: PendingWork, *, max_items: int, max_tokens: int) -> None:
        self._pending = pending
        self._max_items = max_items
        self.max_tokens = max_tokens
        # Token ids take fifty times the memory of their text, and a text without whitespace is tokenized as a whole.
        self._tokenizing = asyncio.Semaphore(_CONCURRENT_TOKENIZATIONS)

    def check_items(self, items: int) -> None:
        """Refuse a request by the number of its items.

        Raises:
            ApiError: It has none, or too many.
        """
        if not items:
            raise ApiError("empty", "the request has no text: send at least one")
        if items > self._max_items:
            raise ApiError("too_many", f"{items} texts are more than the {self._max_items} that one request may have")

    @contextlib.contextmanager
    def accepted(self, items: int, *, exchange: Exchange) -> Iterator[Reservation]:
        """Accept a request's items for as long as the block lasts, and record them.

        Raises:
            ApiError: With them, too many items would be pending.
        """
        with self._pending.reserve(items) as reservation:
            exchange.items = items
            yield reservation

    def accept_tokens(self, tokens: int, *, reservation: Reservation, exchange: Exchange) -> None:
        """Accept the tokens of a request, and record them.

        Raises:
            ApiError: They are too many, or with them too many would be pending.
        """
        exchange.tokens = tokens
        if tokens > self.max_tokens:
            raise self._too_many_tokens()
        reservation.add_tokens(tokens)

    @contextlib.asynccontextmanager
    async def tokenizing(
        self, *, noun: str, max_tokens: int, indices: Sequence[int] | None = None
    ) -> AsyncIterator[None]:
        """Wait for this request's turn to tokenize. Errors inside call a text what the request calls it.

        A request that is cancelled keeps its turn until its tokenizing has ended.

        Args:
            noun: What the request calls a text.
            max_tokens: How many tokens a text may have, for the error.
            indices: Those of the texts in the request, if not all of them are tokenized.

        Raises:
            ApiError: A text cannot be used, or there are too many tokens.
        """
        try:
            async with self._tokenizing:
                yield
        except EmptyTextError as error:
            raise empty_text(_index_in_request(error.index, indices), noun=noun) from error
        except TextTooLongError as error:
            raise text_too_long(_index_in_request(error.index, indices), noun=noun, max_tokens=max_tokens) from error
        except TooManyTokensError as error:
            raise self._too_many_tokens() from error
        except InvalidInputError as error:
            if error.index is None:
                raise
            raise ApiError("invalid", f"{noun} {_index_in_request(error.index, indices)}: {error.args[0]}") from error

    def _too_many_tokens(self) -> ApiError:
        return ApiError(
            "too_many",
            f"the texts have more than the {self.max_tokens} tokens that one request may have; send fewer texts at "
            "once, or a shorter query",
        )


def count_tokens(rows: Sequence[TokenRow]) -> int:
    """Return how many tokens texts have together."""
    return sum(row.ids.size for row in rows)


def _index_in_request(index: int | None, indices: Sequence[int] | None) -> int | None:
    return index if index is None or indices is None else indices[index]
