"""How many requests may be on their way, and how long a refused one waits."""

import asyncio
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qwen3_client.session import pause_s
from qwen3_client.window import Window


def test_there_are_never_more_than_the_window_allows() -> None:
    async def run() -> None:
        window, at_once, most = Window(3), 0, 0

        async def request() -> None:
            nonlocal at_once, most
            await window.enter("bulk")
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1
            window.leave()

        await asyncio.gather(*(request() for _ in range(50)))
        assert (at_once, most) == (0, 3)

    asyncio.run(run())


def test_it_halves_once_for_requests_that_were_refused_together_and_grows_again() -> None:
    async def run() -> None:
        window = Window(16)
        permits = [await window.enter("bulk") for _ in range(16)]
        for permit in permits:
            window.shrink(permit)
            window.leave()
        assert window.limit == 8
        for _ in range(10):
            window.shrink(await window.enter("bulk"))
            window.leave()
        assert window.limit == 1
        for _ in range(200):
            window.grow()
        assert window.limit == 16

    asyncio.run(run())


def test_a_refused_request_goes_before_those_that_wait() -> None:
    async def run() -> None:
        window, order = Window(1), []
        await window.enter("bulk")

        async def request(name: str, *, first: bool) -> None:
            await window.enter("bulk", first=first)
            order.append(name)
            window.leave()

        tasks = [asyncio.create_task(request(name, first=name == "again")) for name in ("new", "newer", "again")]
        await asyncio.sleep(0)
        window.leave()
        await asyncio.gather(*tasks)
        assert order == ["again", "new", "newer"]

    asyncio.run(run())


def test_a_request_that_waits_too_long_leaves_its_turn_to_the_next() -> None:
    async def run() -> None:
        window = Window(1)
        await window.enter("bulk")
        patient = asyncio.create_task(window.enter("bulk", timeout_s=600))
        with pytest.raises(asyncio.TimeoutError):
            await window.enter("interactive", timeout_s=0.01)
        window.leave()
        await patient
        window.leave()
        assert not window.is_full

    asyncio.run(run())


@given(st.integers(1, 4), st.integers(0, 2**32))
def test_whoever_gives_up_takes_no_slot_along(most: int, seed: int) -> None:
    async def run() -> None:
        window, random = Window(most), Random(seed)

        async def request() -> None:
            await window.enter("bulk")
            try:
                await asyncio.sleep(random.choice([0, 0.0001]))
            finally:
                window.leave()

        tasks = [asyncio.create_task(request()) for _ in range(20)]
        for task in tasks:
            if random.random() < 0.5:
                await asyncio.sleep(0)
            if random.random() < 0.7:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(most):  # all permits are there
            await asyncio.wait_for(window.enter("bulk"), timeout=10)

    asyncio.run(run())


@pytest.mark.parametrize(("tries", "longest"), [(1, 0.05), (2, 0.1), (3, 0.2), (7, 2.0), (50, 2.0), (2000, 2.0)])
def test_pauses_double_up_to_a_limit_and_differ(tries: int, longest: float) -> None:
    pauses = {pause_s(tries) for _ in range(50)}
    assert len(pauses) > 1
    assert all(longest / 2 <= pause <= longest for pause in pauses)


def test_a_permit_that_was_taken_at_once_goes_to_who_waits_for_it() -> None:
    async def run() -> None:
        window, request, late = Window(1), object(), object()
        assert window.enter_at_once(request)
        assert window.is_full
        waiting = asyncio.ensure_future(window.enter("bulk"))
        await asyncio.sleep(0)
        assert not window.enter_at_once(late), "another one waits"
        assert window.leave_at_once(late)
        assert window.leave_at_once(request), "which has to be told to the loop"
        window.hand_out()
        await asyncio.wait_for(waiting, 30)
        assert window.is_full
        window.leave()
        assert not window.leave_at_once(object()), "which has none"
        assert not window.is_full

    asyncio.run(run())
