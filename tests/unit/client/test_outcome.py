"""What comes of a call's items, and work that is shared."""

import asyncio
from collections.abc import Iterator

import pytest
from qwen3_client import InferenceError, InvalidInputError
from qwen3_client.once import Once
from qwen3_client.outcome import Outcome, in_order


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


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9])
def test_groups_run_two_at_a_time_and_keep_their_order(count: int) -> None:
    running, most = 0, 0

    async def group(number: int) -> Outcome[int]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01 if number % 2 else 0.001)
        running -= 1
        return Outcome([number, number])

    found = asyncio.run(in_order(group(number) for number in range(count)))
    assert found == Outcome([number for number in range(count) for _ in range(2)])
    assert most == min(count, 2)


def test_nothing_is_begun_after_a_failure_and_what_is_on_its_way_is_given_up() -> None:
    begun: list[int] = []
    given_up: list[int] = []

    async def group(number: int) -> Outcome[int]:
        begun.append(number)
        if number == 1:
            await asyncio.sleep(0.05)
            return Outcome([10], InferenceError("no good"))
        try:
            await asyncio.sleep(60 if number > 1 else 0)
        except asyncio.CancelledError:
            given_up.append(number)
            raise
        return Outcome([number])

    found = asyncio.run(in_order(group(number) for number in range(9)))
    assert (found.results, str(found.failure)) == ([0, 10], "no good")
    assert begun == [0, 1, 2]
    assert given_up == [2]


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
