"""What comes of a call's items, and work that is shared."""

import asyncio
from collections.abc import Iterator

import pytest
from qwen3_client import InferenceError, InvalidInputError
from qwen3_client.once import Once
from qwen3_client.outcome import Outcome


def test_a_failure_is_about_the_item_after_the_results() -> None:
    assert Outcome([1, 2]).all("text") == [1, 2]
    with pytest.raises(InferenceError, match=r"^pair 2: no good$"):
        Outcome([1, 2], InferenceError("no good")).all("pair")


def test_results_are_collected_until_one_cannot_be_made() -> None:
    def results() -> Iterator[int]:
        yield 1
        raise InvalidInputError("two")

    found = Outcome.collect(results(), failure=InferenceError("later"))
    assert (found.results, str(found.failure)) == ([1], "two")
    assert str(Outcome.collect(iter([1]), failure=InferenceError("later")).failure) == "later"


def test_those_who_ask_together_share_the_work_and_a_failure_is_forgotten() -> None:
    tries = 0

    async def work() -> str:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.01)
        if tries == 1:
            raise InferenceError("the first try")
        return "done"

    async def ask() -> None:
        once = Once(work)
        first = await asyncio.gather(*(once.get() for _ in range(5)), return_exceptions=True)
        assert [str(failure) for failure in first] == ["the first try"] * 5
        assert [await once.get() for _ in range(3)] == ["done"] * 3

    asyncio.run(ask())
    assert tries == 2


def test_one_who_gives_up_does_not_stop_the_work_for_the_others() -> None:
    async def work() -> str:
        await asyncio.sleep(0.01)
        return "done"

    async def ask() -> None:
        once = Once(work)
        impatient, patient = asyncio.create_task(once.get()), asyncio.create_task(once.get())
        await asyncio.sleep(0)
        impatient.cancel()
        assert await patient == "done"
        assert impatient.cancelled()

    asyncio.run(ask())
