"""The way of a call's texts to the transport: straight down, in groups, of which two are under way."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import qwen3_client
from numpy.typing import NDArray
from qwen3_client import AsyncClient, Client, InferenceError
from qwen3_client.tokenizer import TextTokenizer
from qwen3_client.transports import FakeTransport, Outputs

SOURCE = Path(qwen3_client.__file__).parent
TEXTS = ["a" * length for length in range(1, 10)]  # of different lengths, so that none share a request


class Gate(FakeTransport):
    """Calls a function of the test before it answers, with the number of the text's characters."""

    def __init__(self) -> None:
        super().__init__(dimensions=64)
        self.asked: list[int] = []
        self.cancelled: list[int] = []
        self.wait: Callable[[int], Any] = lambda _: asyncio.sleep(0)

    async def infer(self, model: str, input_ids: NDArray[np.int64], **options: Any) -> Outputs:  # noqa: ANN401
        characters = input_ids.shape[1] - 1  # and the end token
        self.asked.append(characters)
        try:
            await self.wait(characters)
        except asyncio.CancelledError:
            self.cancelled.append(characters)
            raise
        return await super().infer(model, input_ids, **options)


@pytest.fixture
def tokenized(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of characters of each text that has been tokenized."""
    found: list[int] = []
    encode = TextTokenizer.encode

    def watched(self: TextTokenizer, prompts: Any, **options: Any) -> Any:  # noqa: ANN401
        found.extend(len(prompt.text) for prompt in prompts)
        return encode(self, prompts, **options)

    monkeypatch.setattr(TextTokenizer, "encode", watched)
    return found


def test_two_groups_are_under_way_and_the_vectors_keep_their_order(tokenized: list[int]) -> None:
    async def run() -> None:
        transport, begun, go_on = Gate(), asyncio.Event(), asyncio.Event()

        async def wait(_: int) -> None:
            if len(transport.asked) == 2:
                begun.set()
            await go_on.wait()

        transport.wait = wait
        async with AsyncClient(transport=transport, concurrency=2).on_running_loop() as client:
            call = asyncio.create_task(client.encode_document(TEXTS))
            await begun.wait()
            for _ in range(100):  # turns in which a third group would be tokenized
                await asyncio.sleep(0)
            assert sorted(tokenized) == [1, 2, 3, 4]
            assert transport.asked == [1, 2]
            go_on.set()
            together = await call
            alone = [await client.encode_document(text) for text in TEXTS]
        np.testing.assert_array_equal(together, alone)

    asyncio.run(run())


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("concurrency", [1, 2, 64])
def test_any_number_of_texts_gives_as_many_vectors_and_scores(count: int, concurrency: int) -> None:
    with Client(transport=FakeTransport(dimensions=64), concurrency=concurrency) as client:
        table = client.encode_document(TEXTS[:count])
        assert table.shape == (count, 64)
        np.testing.assert_array_equal(client.encode_tokens(client.tokenize(TEXTS[:count])), table)
        pairs = [("query", text) for text in TEXTS[:count]]
        scores = client.score(pairs)
        assert scores.shape == (count,)
        assert [judged.score for judged in client.score_tokens(client.tokenize_pairs(pairs))] == scores.tolist()


def test_nothing_is_begun_after_a_failure_and_what_is_under_way_is_cancelled(tokenized: list[int]) -> None:
    async def run() -> None:
        transport, next_began = Gate(), asyncio.Event()

        async def wait(characters: int) -> None:
            if characters == 3:  # the first text of the second group
                await next_began.wait()
                raise InferenceError("no good")
            if characters == 5:  # the first of the third
                next_began.set()
                await asyncio.Event().wait()

        transport.wait = wait
        async with AsyncClient(transport=transport, concurrency=2).on_running_loop() as client:
            with pytest.raises(InferenceError, match=r"^text 2: no good$"):
                await client.encode_document(TEXTS)
            assert transport.cancelled == [5]
            assert tokenized == [1, 2, 3, 4, 5, 6]
            assert (await client.encode_document("a")).shape == (64,), "the permits were given back"

    asyncio.run(run())


def test_a_call_goes_straight_down_to_the_transport() -> None:
    """Once a module has called the next one, its functions are not entered again before the request is sent."""
    paths: list[list[str]] = []

    class Watched(FakeTransport):
        async def infer(self, *args: Any, **options: Any) -> Outputs:  # noqa: ANN401
            frame: FrameType | None = sys._getframe(1)
            path: list[str] = []
            while frame is not None:
                file = Path(frame.f_code.co_filename)
                if file.is_relative_to(SOURCE) and path[-1:] != [file.stem]:
                    path.append(file.stem)
                frame = frame.f_back
            paths.append(path[::-1])
            return await super().infer(*args, **options)

    with Client(transport=Watched(dimensions=64)) as client:
        client.encode_document("text")
        client.encode_tokens([[1, 2]])
        client.rank("query", ["document"])
        list(client.encode_stream(["text"]))
    assert paths == [["async_client", "served_model", "session"]] * 4
