"""Which requests can be answered while a batch runs."""

from hypothesis import given
from hypothesis import strategies as st
from qwen3_serve.host.batch_progress import BatchProgress


def test_a_request_is_finished_by_its_last_text() -> None:
    progress = BatchProgress([1, 3, 2])
    assert progress.finish([1, 4, 3]) == []
    assert progress.finish([5, 0]) == [(2, slice(4, 6)), (0, slice(0, 1))]
    assert not progress.is_complete
    assert progress.finish([2]) == [(1, slice(1, 4))]
    assert progress.is_complete


def test_without_requests_nothing_is_left_to_run() -> None:
    assert BatchProgress([]).is_complete


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=20), data=st.data())
def test_every_request_is_finished_once_with_its_own_rows(sizes: list[int], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(sum(sizes))))
    size = data.draw(st.integers(1, len(order)))
    progress = BatchProgress(sizes)
    finished: list[tuple[int, slice]] = []
    for start in range(0, len(order), size):
        assert not progress.is_complete
        finished += progress.finish(order[start : start + size])
    assert progress.is_complete
    rows = [(request, range(rows.start, rows.stop)) for request, rows in sorted(finished)]
    assert rows == [(i, range(sum(sizes[:i]), sum(sizes[: i + 1]))) for i in range(len(sizes))]
