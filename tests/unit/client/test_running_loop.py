"""A client that works on the program's event loop instead of the thread that clients share."""

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from qwen3_client import AsyncClient, Client, Qwen3ClientError
from qwen3_client.transports import FakeTransport, Outputs


class Watched(FakeTransport):
    """Remembers the threads in which it was used, and may never answer."""

    def __init__(self) -> None:
        super().__init__(dimensions=64)
        self.threads: set[int] = set()
        self.asked, self.was_closed = asyncio.Event(), asyncio.Event()
        self.cancelled = 0
        self.answers = True
        self.closed = 0

    async def infer(self, *args: Any, **options: Any) -> Outputs:  # noqa: ANN401 - as its base takes them
        self.threads.add(threading.get_ident())
        self.asked.set()
        try:
            if not self.answers:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await super().infer(*args, **options)

    async def close(self) -> None:
        self.closed += 1
        self.was_closed.set()


def test_all_its_work_is_done_in_the_thread_of_the_loop() -> None:
    async def run() -> None:
        transport = Watched()
        async with AsyncClient(transport=transport).on_running_loop() as client:
            vectors = await client.encode_document(["a", "bb", "a"])
            rows = [row async for row in client.encode_stream(["a", "bb", "a"])]
            await client.score([("q", "d")])
            # Texts that take long to tokenize are tokenized elsewhere, but not sent from there.
            await client.encode_document("word " * 2000)
        np.testing.assert_array_equal(vectors, rows)
        assert transport.threads == {threading.get_ident()}
        assert transport.closed == 1
        with pytest.raises(Qwen3ClientError, match="this client is closed"):
            await client.encode_document("a")
        await client.close()
        assert transport.closed == 1

    asyncio.run(run())


def test_other_loops_and_threads_may_use_it_while_the_loop_runs() -> None:
    async def run() -> None:
        transport = Watched()
        async with AsyncClient(transport=transport).on_running_loop() as client:
            expected = await client.encode_document("a")
            calls = (lambda: Client.over(client).encode_document("a"), lambda: asyncio.run(client.encode_document("a")))
            with ThreadPoolExecutor(2) as pool:
                for call in calls:
                    vector = await asyncio.get_running_loop().run_in_executor(pool, call)
                    np.testing.assert_array_equal(vector, expected)
        assert transport.threads == {threading.get_ident()}

    asyncio.run(run())


def test_waiting_for_it_in_its_own_thread_is_refused() -> None:
    async def run() -> None:
        async with AsyncClient(transport=Watched()).on_running_loop() as client:
            for call in (Client.over(client).info, Client.over(client).close):
                with pytest.raises(Qwen3ClientError, match="await the methods of its AsyncClient"):
                    call()

    asyncio.run(run())


def test_cancelling_a_call_cancels_its_request() -> None:
    async def run() -> None:
        transport = Watched()
        async with AsyncClient(transport=transport).on_running_loop() as client:
            await client.info()
            transport.answers = False
            call = asyncio.create_task(client.encode_document("a"))
            await transport.asked.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert transport.cancelled == 1
            transport.answers = True
            assert (await client.encode_document("a")).shape == (64,)

    asyncio.run(run())


def test_a_call_may_be_cancelled_before_it_begins() -> None:
    async def run() -> None:
        async with AsyncClient(transport=Watched()).on_running_loop() as client:
            call = asyncio.create_task(client.encode_document("a"))
            await asyncio.sleep(0)  # the call has started a task, which has not begun
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            del call
            gc.collect()  # a coroutine that was never awaited would be a warning, and so an error

    asyncio.run(run())


def test_closing_it_ends_calls_and_leaves_their_tasks_alone() -> None:
    async def run() -> None:
        transport = Watched()
        client = AsyncClient(transport=transport).on_running_loop()
        await client.info()
        transport.answers = False
        said: list[str] = []

        async def caller() -> str:
            try:
                await client.encode_document("a")
            except Qwen3ClientError as error:
                said.append(str(error))
            await asyncio.sleep(0)  # would raise if closing had cancelled this task
            return "went on"

        task = asyncio.create_task(caller())
        await transport.asked.wait()
        await client.close()
        assert await task == "went on"
        assert said == ["this client is closed; make a new one"]
        assert (transport.cancelled, transport.closed) == (1, 1)

    asyncio.run(run())


def test_the_loop_is_not_blocked_while_long_texts_are_tokenized() -> None:
    async def run() -> None:
        async with AsyncClient(transport=Watched()).on_running_loop() as client:
            await client.encode_document("a")
            turns = 0
            call = asyncio.create_task(client.encode_document("a " * 300_000))
            while not call.done():
                await asyncio.sleep(0)
                turns += 1
            await call
            assert turns > 100  # a blocked loop would have had a handful

    asyncio.run(run())


def test_a_client_whose_loop_has_ended_says_so() -> None:
    async def made() -> AsyncClient:
        client = AsyncClient(transport=FakeTransport()).on_running_loop()
        await client.info()
        return client

    client = asyncio.run(made())
    with pytest.raises(Qwen3ClientError, match="the event loop on which this client worked is closed"):
        asyncio.run(client.info())
    with pytest.raises(Qwen3ClientError, match="the event loop on which this client worked is closed"):
        Client.over(client).info()
    Client.over(client).close()
    asyncio.run(client.close())


def test_the_loop_is_chosen_before_the_first_call_and_must_run() -> None:
    client = AsyncClient(transport=FakeTransport())
    with pytest.raises(RuntimeError, match="no running event loop"):
        client.on_running_loop()
    asyncio.run(client.info())

    async def late() -> None:
        with pytest.raises(Qwen3ClientError, match="before its first call"):
            client.on_running_loop()
        await client.close()

    asyncio.run(late())


def test_one_that_is_forgotten_is_closed() -> None:
    async def run() -> None:
        transport = Watched()
        client = AsyncClient(transport=transport).on_running_loop()
        await client.info()
        del client
        gc.collect()
        await asyncio.wait_for(transport.was_closed.wait(), 30)
        assert transport.closed == 1

    asyncio.run(run())
