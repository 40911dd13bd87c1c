"""Loading ahead keeps the order, and a loader that hangs costs its sample, not the run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tao_runtime.engine.load_ahead import in_background, load_ahead
from tao_runtime.engine.samples import Item
from tao_runtime.engine.source import BadSample

NOTHING = torch.zeros(1, dtype=torch.long)


def item(position: int) -> Item:
    return Item(position, NOTHING, NOTHING.bool(), NOTHING.bool(), (), ())


def batches(count: int) -> Iterator[list[int]]:
    for start in range(0, count, 3):
        yield list(range(start, start + 3))


@pytest.mark.parametrize("num_threads", [0, 1, 4])
def test_samples_come_in_the_order_of_their_batches(num_threads: int) -> None:
    loaded = list(load_ahead(item, batches(30), num_threads=num_threads, depth=8, name=int))
    assert [sample.record for _, samples in loaded for sample in samples] == list(range(30))
    assert [positions for positions, _ in loaded] == list(batches(30))


@pytest.mark.parametrize("num_threads", [1, 2])
def test_what_hangs_is_given_up_and_the_rest_is_loaded(num_threads: int) -> None:
    forever = threading.Event()

    def load(position: int) -> Item:
        if position in (1, 4):
            forever.wait()
        return item(position)

    loaded = list(
        load_ahead(load, batches(12), num_threads=num_threads, depth=6, timeout_s=0.3, name=lambda place: 100 + place)
    )
    forever.set()
    samples = [sample for _, group in loaded for sample in group]
    bad = [sample for sample in samples if isinstance(sample, BadSample)]
    assert [(sample.record, sample.reason) for sample in bad] == [
        (record, "hangs: not loaded 0.3 s after it was needed") for record in (101, 104)
    ]
    assert [sample.record for sample in samples if isinstance(sample, Item)] == [0, 2, 3, *range(5, 12)]


def test_what_is_made_in_the_background_comes_in_order_and_ends_with_its_error() -> None:
    def numbers() -> Iterator[int]:
        yield from range(20)
        raise RuntimeError("a fault of the program")

    taken = []
    with pytest.raises(RuntimeError, match="a fault of the program"):
        for number in in_background(numbers()):
            taken.append(number)
    assert taken == list(range(20))
    assert list(in_background(iter(range(5)))) == list(range(5))


def test_what_is_not_wanted_any_more_lets_its_thread_end() -> None:
    before, some = threading.active_count(), in_background(iter(range(1000)))
    assert next(some) == 0
    some.close()
    for _ in range(100):
        if threading.active_count() == before:
            break
        threading.Event().wait(0.05)
    assert threading.active_count() == before


def test_an_error_is_raised_where_the_sample_is_needed(tmp_path: Path) -> None:
    def load(position: int) -> Item:
        if position == 5:
            raise RuntimeError("a fault of the program")
        return item(position)

    loaded = load_ahead(load, batches(12), num_threads=2, depth=12, name=int)
    assert [sample.record for sample in next(loaded)[1]] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="a fault of the program"):
        next(loaded)
