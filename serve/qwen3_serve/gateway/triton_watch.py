"""What the command says of Triton at its start: that it is away, or has nothing that the gateway could use.

The gateway starts all the same, refuses requests with 503, and works as soon as Triton does, so that either may be
started first. This module asks until all is well once, then no more; `/ready` goes on telling.
"""

import asyncio
import threading
from collections.abc import Callable

from qwen3_client import AsyncClient, ContractMismatchError, Qwen3ClientError

from .app import connect
from .settings import Settings

__all__ = ["watch_triton"]

_ANSWER_S = 5.0
_PAUSE_S = 2.0


def watch_triton(settings: Settings, *, say: Callable[[str], object]) -> None:
    """Tells, in a thread of its own, what keeps the gateway from working, and when nothing does any more.

    Args:
        settings: the gateway's.
        say: takes a sentence for the operator.
    """
    threading.Thread(target=lambda: asyncio.run(_watch(settings, say)), name="triton-watch", daemon=True).start()


async def _watch(settings: Settings, say: Callable[[str], object]) -> None:
    said: type[Exception] | None = None  # the words of the same failure differ, as gRPC tries one address after another
    async with connect(settings) as client:
        while True:
            try:
                await asyncio.wait_for(_use(client), _ANSWER_S)
            except (asyncio.TimeoutError, Qwen3ClientError) as error:
                if type(error) is not said:
                    late = f"neither Triton at {settings.triton} nor its tokenizer's source answered in {_ANSWER_S:g} s"
                    problem = str(error) or late
                    say(f"{problem}. Requests get 503 until then")
                said = type(error)
            else:
                break
            await asyncio.sleep(_PAUSE_S)
    if said is not None:
        say(f"Triton at {settings.triton} answers now")


async def _use(client: AsyncClient) -> None:
    """Does with each model what comes before its first request. One of the two kinds may be missing.

    Raises:
        Qwen3ClientError: there is none that could be used.
    """
    try:
        await client.tokenize(["text"])
    except ContractMismatchError as error:
        try:
            await client.tokenize_pairs([("query", "document")])
        except ContractMismatchError:
            raise error from None
