import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.serve.batching import Batcher
from pipeline.serve.errors import RequestError


class Function:
    """Doubles numbers, remembers its batches, and can be held up."""

    def __init__(self):
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, rows):
        self.batches.append(list(rows))
        assert self.go.wait(10)
        if -1 in rows:
            raise OSError("broken")
        return [2 * row for row in rows]


@pytest.fixture
def function():
    return Function()


def run(function, work, *, parallel=1, max_batch=8, max_waiting=100):
    async def main():
        with ThreadPoolExecutor(parallel) as executor:
            batcher = Batcher(
                function,
                executor,
                parallel=parallel,
                max_batch=max_batch,
                max_waiting=max_waiting,
            )
            return await work(batcher)

    return asyncio.run(main())


def test_concurrent_requests_share_a_batch_and_get_their_own_results(function):
    async def work(batcher):
        return await asyncio.gather(*(batcher.submit([n, n + 10]) for n in range(3)))

    assert run(function, work) == [[0, 20], [2, 22], [4, 24]]
    assert function.batches == [[0, 10, 1, 11, 2, 12]]


def test_rows_that_arrive_while_a_batch_runs_form_the_next_batch(function):
    async def work(batcher):
        function.go.clear()
        first = asyncio.create_task(batcher.submit([1]))
        while not function.batches:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(batcher.submit([n])) for n in (2, 3, 4)]
        await asyncio.sleep(0.01)
        function.go.set()
        return await asyncio.gather(first, *others)

    assert run(function, work) == [[2], [4], [6], [8]]
    assert function.batches == [[1], [2, 3, 4]]


def test_a_large_request_is_split_into_batches(function):
    async def work(batcher):
        return await batcher.submit(list(range(20)))

    assert run(function, work, max_batch=8) == [2 * n for n in range(20)]
    assert [len(batch) for batch in function.batches] == [8, 8, 4]


def test_idle_workers_share_the_queue(function):
    async def work(batcher):
        return await batcher.submit(list(range(8)))

    run(function, work, parallel=2)
    assert sorted(map(len, function.batches)) == [4, 4]


def test_a_request_beyond_the_queue_limit_is_rejected(function):
    async def work(batcher):
        function.go.clear()
        taken = [asyncio.create_task(batcher.submit([n])) for n in range(5)]
        await asyncio.sleep(0.01)
        with pytest.raises(RequestError) as refused:
            await batcher.submit(list(range(100)))
        function.go.set()
        return refused.value.status, await asyncio.gather(*taken)

    assert run(function, work, max_batch=1) == (503, [[0], [2], [4], [6], [8]])


def test_a_batch_that_raises_fails_its_requests_and_no_others(function):
    async def work(batcher):
        with pytest.raises(OSError, match="broken"):
            await batcher.submit([-1])
        return await batcher.submit([4])

    assert run(function, work) == [8]


def test_too_few_results_fail_the_requests_of_the_batch(function):
    async def work(batcher):
        asked = [asyncio.create_task(batcher.submit([n])) for n in range(3)]
        done, hanging = await asyncio.wait(asked, timeout=5)
        assert not hanging
        return sorted((task.exception().status, str(task.exception())) for task in done)

    told = (500, "the model returned 1 rows for 3 instances")
    assert run(lambda rows: function(rows)[:1], work) == [told] * 3


def test_a_cancelled_request_does_not_affect_others(function):
    async def work(batcher):
        function.go.clear()
        given_up = asyncio.create_task(batcher.submit([1]))
        kept = asyncio.create_task(batcher.submit([2]))
        await asyncio.sleep(0.01)
        given_up.cancel()
        function.go.set()
        return await kept

    assert run(function, work) == [4]
