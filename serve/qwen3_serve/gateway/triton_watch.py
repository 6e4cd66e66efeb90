"""Messages at the start of the gateway about Triton: that it does not answer, or serves no model to use.

The gateway starts all the same, refuses requests with 503, and works as soon as Triton does, so that either may be
started first. This module stops watching once Triton can be used; after that, `/ready` reports.
"""

import asyncio
import threading
from collections.abc import Callable

from qwen3_client import AsyncClient, ContractMismatchError, Qwen3ClientError

from .app import connect
from .settings import Settings

_ANSWER_S = 5.0
_PAUSE_S = 2.0


def watch_triton(settings: Settings, *, say: Callable[[str], object]) -> None:
    """Report, from a thread of its own, what keeps the gateway from working, and when that is over.

    Args:
        settings: The gateway's settings.
        say: Called with each sentence for the operator.
    """
    threading.Thread(target=lambda: asyncio.run(_watch(settings, say)), name="triton-watch", daemon=True).start()


async def _watch(settings: Settings, say: Callable[[str], object]) -> None:
    # Compared by type: the message of one failure varies, as gRPC tries one address after another.
    reported: type[Exception] | None = None
    async with connect(settings) as client:
        while True:
            try:
                await asyncio.wait_for(_use(client), _ANSWER_S)
            except (asyncio.TimeoutError, Qwen3ClientError) as error:
                if type(error) is not reported:
                    late = f"neither Triton at {settings.triton} nor its tokenizer's source answered in {_ANSWER_S:g} s"
                    problem = str(error) or late
                    say(f"{problem}. Requests get 503 until this is resolved")
                reported = type(error)
            else:
                break
            await asyncio.sleep(_PAUSE_S)
    if reported is not None:
        say(f"Triton at {settings.triton} answers now")


async def _use(client: AsyncClient) -> None:
    """Prepare each model for its first request. One of the two kinds may be missing.

    Raises:
        Qwen3ClientError: No model can be used.
    """
    try:
        await client.tokenize(["text"])
    except ContractMismatchError as error:
        try:
            await client.tokenize_pairs([("query", "document")])
        except ContractMismatchError:
            raise error from None
