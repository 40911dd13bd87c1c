"""The laws of batches: a step's records reach the ranks exactly once, and nothing but (seed, epoch) orders an epoch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from project import Project
from tao_runtime.plan.batches import StepBatch, StepBatches, epoch_order, num_steps, record_indices, step_batch
from tao_runtime.plan.model import BatchPlan, StepPlan, TrainPlan

LENGTHS = np.random.default_rng(0).integers(10, 500, 1000)  # tokens of the records of a made-up data set


@pytest.fixture(scope="session")
def base(project: Project) -> TrainPlan:
    return project.plan()


def make_plan(base: TrainPlan, records: int, size: int, *, drop_last: bool, shuffle: bool = True) -> TrainPlan:
    """The plan of two epochs in global batches of `size`."""
    batch = BatchPlan(
        per_rank=size, micro=1, accumulation=size, data_parallel=1, global_batch=size, shuffle=shuffle,
        seed=5, drop_last=drop_last)  # fmt: skip
    per_epoch = num_steps(records, size, drop_last=drop_last)
    steps = StepPlan(epochs=2, per_epoch=per_epoch, total=2 * per_epoch)
    return base.model_copy(update={"batch": batch, "steps": steps})


@given(
    size=st.integers(0, 200), world=st.integers(1, 9), micro=st.integers(1, 12), seed=st.integers(0, 99)
)  # fmt: skip
def test_union_over_ranks_and_micro_batches_is_the_step(size: int, world: int, micro: int, seed: int) -> None:
    records = np.random.default_rng(seed).permutation(1000)[:size]
    batch = StepBatch(0, 0, records)
    parts = [batch.micro_batches(LENGTHS, rank=rank, data_parallel=world, micro=micro) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1, "a rank with fewer micro-batches would leave the others waiting"
    assert all(len(piece) <= micro for part in parts for piece in part)
    seen = sorted(int(record) for part in parts for piece in part for record in piece)
    assert seen == sorted(records.tolist())


@given(
    size=st.integers(0, 200), world=st.integers(1, 9), room=st.integers(1, 2000), seed=st.integers(0, 99)
)  # fmt: skip
def test_packs_by_tokens_hold_every_record_once_within_their_room(size: int, world: int, room: int, seed: int) -> None:
    records = np.random.default_rng(seed).permutation(1000)[:size]
    batch = StepBatch(0, 0, records)
    parts = [
        batch.micro_batches(LENGTHS, rank=rank, data_parallel=world, micro=1, micro_tokens=room)
        for rank in range(world)
    ]
    assert len({len(part) for part in parts}) == 1, "a rank with fewer micro-batches would leave the others waiting"
    pieces = [piece for part in parts for piece in part]
    assert sorted(int(record) for piece in pieces for record in piece) == sorted(records.tolist())
    assert all(LENGTHS[piece].sum() <= room or len(piece) == 1 for piece in pieces)
    needed = -(-int(np.minimum(LENGTHS[records], room).sum()) // room)
    assert len([piece for piece in pieces if len(piece)]) <= 2 * needed + world, "far more packs than the tokens need"


@given(
    records=st.integers(1, 60), ranks=st.integers(1, 4), accumulation=st.integers(1, 3),
    limit=st.sampled_from((None, 3))
)  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_steps_of_packs_are_full_and_reach_every_record(
    base: TrainPlan, records: int, ranks: int, accumulation: int, limit: int | None
) -> None:
    batch = base.batch.model_copy(
        update={"pack_tokens": 800, "max_samples": limit, "accumulation": accumulation, "data_parallel": ranks}
    )
    steps = StepBatches(base.model_copy(update={"batch": batch}), LENGTHS[:records])
    taken = [steps.step(number) for number in range(40)]
    for step in taken:
        parts = [step.micro_batches(LENGTHS, rank=rank, data_parallel=ranks, micro=0) for rank in range(ranks)]
        packs = [pack for part in parts for pack in part]
        assert len(packs) == ranks * accumulation and all(0 < len(pack) <= (limit or records) for pack in packs)
        assert all(LENGTHS[pack].sum() <= 800 for pack in packs)
        assert sorted(step.records.tolist()) == sorted(int(record) for pack in packs for record in pack)
    again = StepBatches(base.model_copy(update={"batch": batch}), LENGTHS[:records])
    assert again.step(17).records.tolist() == taken[17].records.tolist(), "a step does not depend on those before it"
    assert {int(record) for step in taken for record in step.records} == set(range(records))


@given(size=st.integers(1, 64), worlds=st.tuples(st.integers(1, 8), st.integers(1, 8)), micro=st.integers(1, 8))
def test_a_step_trains_on_the_same_records_on_any_world_size(size: int, worlds: tuple[int, int], micro: int) -> None:
    batch = StepBatch(0, 0, np.arange(size) * 3)
    one, other = (
        {
            int(record)
            for rank in range(world)
            for part in batch.micro_batches(LENGTHS, rank=rank, data_parallel=world, micro=micro)
            for record in part
        }
        for world in worlds
    )
    assert one == other


@settings(deadline=None)
@given(records=st.integers(1, 120), size=st.integers(1, 40), drop_last=st.booleans(), shuffle=st.booleans())
def test_an_epoch_visits_each_record_at_most_once(
    base: TrainPlan, records: int, size: int, drop_last: bool, shuffle: bool
) -> None:
    plan = make_plan(base, records, size, drop_last=drop_last, shuffle=shuffle)
    per_epoch = plan.steps.per_epoch
    if not per_epoch:
        assert drop_last and records < size
        return
    for epoch in range(2):
        batches = [step_batch(plan, records, epoch * per_epoch + number) for number in range(per_epoch)]
        assert {batch.epoch for batch in batches} == {epoch}
        visited = np.concatenate([batch.records for batch in batches])
        assert len(np.unique(visited)) == len(visited) == (per_epoch * size if drop_last else records)


def test_order_depends_on_seed_and_epoch_only() -> None:
    orders = {
        (seed, epoch): epoch_order(50, seed=seed, epoch=epoch, shuffle=True).tolist()
        for seed, epoch in itertools.product(range(3), repeat=2)
    }
    assert len({tuple(order) for order in orders.values()}) == 9
    epoch_order.cache_clear()
    assert epoch_order(50, seed=2, epoch=1, shuffle=True).tolist() == orders[2, 1]


def test_order_is_the_one_that_old_checkpoints_were_made_with() -> None:
    # A change of this order breaks the resuming of every run that was interrupted before it.
    assert epoch_order(8, seed=0, epoch=0, shuffle=True).tolist() == [2, 4, 3, 6, 5, 0, 1, 7]
    assert epoch_order(4, seed=0, epoch=3, shuffle=False).tolist() == [0, 1, 2, 3]


def test_the_records_dropped_differ_between_epochs(base: TrainPlan) -> None:
    plan = make_plan(base, 10, 4, drop_last=True)
    epochs = [{int(r) for step in (2 * epoch, 2 * epoch + 1) for r in step_batch(plan, 10, step).records}
              for epoch in range(2)]  # fmt: skip
    assert [len(epoch) for epoch in epochs] == [8, 8]
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize(("drop_last", "steps"), [(True, 3), (False, 4)])
def test_number_of_steps(drop_last: bool, steps: int) -> None:
    assert num_steps(100, 32, drop_last=drop_last) == steps


def test_record_indices_exclude_or_only() -> None:
    assert record_indices(5, (1, 3), None).tolist() == [0, 2, 4]
    assert record_indices(5, (), (2, 4)).tolist() == [2, 4]
    assert record_indices(3, (), None).tolist() == [0, 1, 2]


@given(lengths=st.lists(st.integers(1, 5000), min_size=8, max_size=64), world=st.integers(1, 4))
def test_tokens_are_balanced_over_ranks(lengths: list[int], world: int) -> None:
    """No rank waits longer than for its share and one longest sample: the bound of greedy placement."""
    tokens = np.asarray(lengths)
    batch = StepBatch(0, 0, np.arange(len(tokens)))
    totals = [
        int(tokens[batch.micro_batches(tokens, rank=rank, data_parallel=world, micro=64)[0]].sum())
        for rank in range(world)
    ]
    assert max(totals) <= tokens.sum() / world + tokens.max()


def test_like_sizes_run_at_the_same_time() -> None:
    batch = StepBatch(0, 0, np.arange(8))
    tokens = np.array([100, 1, 100, 1, 90, 2, 90, 2])
    first, second = (batch.micro_batches(tokens, rank=rank, data_parallel=2, micro=2) for rank in (0, 1))
    sums = [[int(tokens[part].sum()) for part in parts] for parts in (first, second)]
    assert sums == [[101, 92], [101, 92]]
