"""Request priority: the order in which waiting requests are sent."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qwen3_client import Client, InvalidInputError
from qwen3_client.options import Priority
from qwen3_client.window import Window
from unit.client.conftest import SlowTransport

Calls = list[tuple[Callable[[Client], Any], Priority]]

DEFAULTS: Calls = [
    (lambda client: client.encode_query("a"), "interactive"),
    (lambda client: client.encode_document("a"), "bulk"),
    (lambda client: list(client.encode_stream(["a"], kind="query")), "interactive"),
    (lambda client: list(client.encode_stream(["a"])), "bulk"),
    (lambda client: client.encode_tokens([[97, 256]]), "bulk"),
    (lambda client: client.rank("a", ["b"]), "interactive"),
    (lambda client: client.score([("a", "b")]), "interactive"),
    (lambda client: client.score_tokens([[97]]), "interactive"),
]
CHOSEN: Calls = [
    (lambda client: client.encode_query("a", priority="bulk"), "bulk"),
    (lambda client: client.encode_document("a", priority="interactive"), "interactive"),
    (lambda client: list(client.encode_stream(["a"], priority="interactive")), "interactive"),
    (lambda client: client.encode_tokens([[97, 256]], priority="interactive"), "interactive"),
    (lambda client: client.rank("a", ["b"], priority="bulk"), "bulk"),
    (lambda client: client.score([("a", "b")], priority="bulk"), "bulk"),
    (lambda client: client.score_tokens([[97]], priority="bulk"), "bulk"),
]


@pytest.mark.parametrize(("call", "expected"), DEFAULTS + CHOSEN)
def test_every_request_has_a_priority(
    make_client: Callable[..., Client], transport: SlowTransport, call: Callable[[Client], Any], expected: Priority
) -> None:
    call(make_client())
    assert transport.priorities == [expected]


@pytest.mark.parametrize("call", ["encode_query", "encode_document", "encode_stream", "encode_tokens", "score"])
def test_there_are_two_priorities(make_client: Callable[..., Client], transport: SlowTransport, call: str) -> None:
    with pytest.raises(InvalidInputError, match="'interactive' or 'bulk', not 'high'"):
        getattr(make_client(), call)([], priority="high")
    assert transport.count == 0


def test_a_query_overtakes_bulk_that_waits_in_the_client(
    make_client: Callable[..., Client], transport: SlowTransport
) -> None:
    free = threading.Event()
    answer = transport.answer

    def wait_and_answer(ids: Any) -> Any:  # noqa: ANN401
        free.wait(20)
        return answer(ids)

    transport.answer = wait_and_answer
    client = make_client(concurrency=2)
    bulk = threading.Thread(target=client.encode_document, args=([f"{i}" for i in range(30)],))
    bulk.start()
    while transport.count < 2:  # both permits are taken, and the others wait
        pass
    query = threading.Thread(target=client.encode_query, args=("a",))
    query.start()
    while not client.async_client._session._window._waiting["interactive"]:
        pass
    free.set()
    query.join()
    bulk.join()
    assert transport.priorities.index("interactive") == 2
    assert len(transport.priorities) == 31


@given(st.lists(st.sampled_from(["interactive", "bulk"]), min_size=1, max_size=60))
def test_interactive_goes_first_and_bulk_is_not_starved(arrivals: list[Priority]) -> None:
    order: list[Priority] = []

    async def request(window: Window, priority: Priority) -> None:
        await window.enter(priority)
        order.append(priority)
        window.leave()

    async def run() -> None:
        window = Window(1)
        await window.enter("bulk")
        tasks = [asyncio.create_task(request(window, priority)) for priority in arrivals]
        await asyncio.sleep(0)
        window.leave()
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert sorted(order) == sorted(arrivals)
    interactive, bulk = order.count("interactive"), order.count("bulk")
    # Four interactive, one bulk, while both wait; then whatever is left.
    while interactive and bulk:
        taken = min(4, interactive)
        assert order[: taken + 1] == ["interactive"] * taken + ["bulk"]
        del order[: taken + 1]
        interactive, bulk = interactive - taken, bulk - 1
    assert len(set(order)) <= 1
