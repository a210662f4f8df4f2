"""Looking ahead: results in order, not too many at once, and an end that cancels."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from wst.data.ahead import ahead


def test_results_come_in_order_and_only_a_few_items_are_taken() -> None:
    taken: list[int] = []

    def items():  # type: ignore[no-untyped-def]
        for item in range(20):
            taken.append(item)
            yield item

    with ThreadPoolExecutor(3) as pool:
        found = []
        for result in ahead(pool, lambda item: item * item, items(), 4):
            found.append(result)
            assert len(taken) < len(found) + 4
    assert found == [item * item for item in range(20)]


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_is_raised_in_its_place(count: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        results = ahead(pool, lambda item: 6 // item, [3, 2, 0, 1], count)
        assert [next(results), next(results)] == [2, 3]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_results_that_are_not_wanted_any_more_are_not_computed() -> None:
    go, begun = Event(), []

    def work(item: int) -> int:
        begun.append(item)
        if item:
            go.wait(60)
        return item

    with ThreadPoolExecutor(1) as pool:
        results = ahead(pool, work, range(10), 5)
        assert next(results) == 0
        results.close()  # type: ignore[attr-defined]
        go.set()
    assert len(begun) <= 2
