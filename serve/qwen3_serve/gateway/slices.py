"""How the texts of one request go to the client: in slices, a few at a time.

So a request with thousands of texts leaves room in the client's window for a request with one. This module knows
nothing about what is done with a slice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

SLICE = 16  # items that are handed to the client in one call
_CONCURRENT_SLICES = 8  # so at most 128 items of one request wait in the client's window, enough to keep it full


async def in_slices(rows: Sequence[_Item], send: Callable[[Sequence[_Item]], Awaitable[_Result]]) -> list[_Result]:
    """Send rows slice by slice, several slices at once, and return the answers in their order.

    The first error cancels the slices that are not answered yet.
    """
    if len(rows) <= SLICE:
        return [await send(rows)]
    turns = asyncio.Semaphore(_CONCURRENT_SLICES)

    async def send_in_turn(start: int) -> _Result:
        async with turns:
            return await send(rows[start : start + SLICE])

    tasks = [asyncio.ensure_future(send_in_turn(start)) for start in range(0, len(rows), SLICE)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
