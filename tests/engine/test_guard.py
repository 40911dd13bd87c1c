"""A bad step changes nothing; a few in a row end the run, or roll it back, as the plan says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from runs import events, tao, write_train_spec

torch = pytest.importorskip("torch")

from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from tao_runtime.engine.dist import join_world
from tao_runtime.engine.guard import ENOUGH, StepGuard
from tao_runtime.engine.optimizer import ShardOptimizer
from tao_runtime.engine.run_dir import RunLog
from tao_runtime.plan.model import BadStepPlan, OptimizerPlan

PLAN = OptimizerPlan(
    name="AdamW",
    lr={"global": 0.1},
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.5,
    implementation="foreach",
    grad_clip=0,
)


def make(model: torch.nn.Module, implementation: str = "foreach") -> ShardOptimizer:
    parameters = dict(model.named_parameters())
    plan = PLAN.model_copy(update={"implementation": implementation})
    return ShardOptimizer(parameters, dict.fromkeys(parameters, 0.1), plan)


def state_of(model: torch.nn.Module, optimizer: ShardOptimizer) -> list[torch.Tensor]:
    """Copy weights, moments and step counts."""
    whole = [*model.parameters(), *optimizer.state().values()]
    return [(value.full_tensor() if hasattr(value, "full_tensor") else value).detach().clone() for value in whole]


def step(model: torch.nn.Module, optimizer: ShardOptimizer, guard: StepGuard, number: int, value: float) -> None:
    """One step of which one number of the gradient is `value`."""
    model(torch.ones(1, 8)).sum().backward()
    [weight, *_] = model.parameters()
    weight.grad.to_local()[0, 0] = value
    optimizer.take_gradients()
    norm = optimizer.clip(0)
    guard.step(norm)
    optimizer.zero_grad()
    guard.note(number, norm)


@pytest.mark.parametrize("kind", ["fused", "foreach", "for-loop"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_no_bit(tmp_path: Path, kind: str, value: float) -> None:
    with join_world():
        model = fully_shard(torch.nn.Linear(8, 8), mesh=init_device_mesh("cpu", (1,)))
        optimizer = make(model, kind)
        guard, states = StepGuard(optimizer, RunLog(tmp_path, is_main=True), BadStepPlan()), []
        for number, seen in enumerate((1.0, value, 1.0), start=1):
            step(model, optimizer, guard, number, seen)
            states.append(state_of(model, optimizer))
    assert len(states[0]) == 2 + 2 * 2 + 1
    assert all(torch.equal(*pair) for pair in zip(states[0], states[1], strict=True))
    assert not any(torch.equal(*pair) for pair in zip(states[1], states[2], strict=True))
    assert guard.skipped == [2] and float(guard.cleaned(torch.tensor(5.0))) == 5.0


@pytest.mark.parametrize("factor", [None, 4.0])
def test_a_spike_is_skipped_only_where_the_plan_says_so(tmp_path: Path, factor: float | None) -> None:
    with join_world():
        model = fully_shard(torch.nn.Linear(8, 8), mesh=init_device_mesh("cpu", (1,)))
        optimizer = make(model)
        guard = StepGuard(optimizer, RunLog(tmp_path, is_main=True), BadStepPlan(spike_factor=factor))
        step(model, optimizer, guard, 1, 1e3)  # too early to tell a spike from a start
        for number in range(2, ENOUGH + 2):
            step(model, optimizer, guard, number, 1.0)
        before = state_of(model, optimizer)
        step(model, optimizer, guard, ENOUGH + 2, 1e3)
        same = all(torch.equal(*pair) for pair in zip(before, state_of(model, optimizer), strict=True))
    assert (guard.skipped, same) == (([], False) if factor is None else ([ENOUGH + 2], True))
    assert guard.streak is None
    if factor:
        [event] = events(tmp_path, "skipped-step")
        assert event["limit"] == pytest.approx(4 * math.sqrt(8 * 8 + 8), rel=1e-3)


def test_a_few_in_a_row_are_a_streak_and_a_good_one_between_is_none(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = ShardOptimizer({"p": parameter}, {"p": 0.1}, PLAN)
    guard = StepGuard(optimizer, RunLog(tmp_path, is_main=True), BadStepPlan(in_a_row=3))
    bad, good = torch.tensor(float("nan")), torch.tensor(1.0)
    for number, norm in enumerate([bad] * 2 + [good] + [bad] * 2, start=1):
        guard.step(norm)
        guard.note(number, norm)
    assert guard.streak is None
    guard.step(bad)
    guard.note(6, bad)
    assert guard.streak is not None
    assert guard.streak.sentence() == "steps 4 to 6: the gradient norm is nan 3 times in a row; want finite numbers"
    assert torch.equal(parameter, torch.ones(2))


BLOWS_UP = {"train__optm_lr": 1e30, "train__optm_warmup_steps": 1, "train__train_policy__mini_batch": 4}


def test_a_rate_that_blows_the_weights_up_ends_the_run(demo_material: Path, tmp_path: Path) -> None:
    spec = write_train_spec(tmp_path / "train.yaml", demo_material, tmp_path / "run", **BLOWS_UP)
    done = tao("train", "--spec", str(spec), cwd=tmp_path, want=3)
    assert "3 times in a row; want finite numbers. None of these steps changed a weight" in done.stderr
    assert [event["in_a_row"] for event in events(tmp_path / "run", "skipped-step")] == [1, 2, 3]


def test_a_rollback_goes_on_with_the_next_records_until_it_was_tried_often_enough(
    demo_material: Path, tmp_path: Path
) -> None:
    """Step 1 blows the weights up; 2 to 4 are bad: back to the commit of step 3. 5 to 7 are bad again: the end."""
    bad_steps = {"then": "rollback", "max_rollbacks": 1}
    spec = write_train_spec(
        tmp_path / "train.yaml", demo_material, tmp_path / "run", **BLOWS_UP, train__bad_steps=bad_steps
    )
    done = tao("train", "--spec", str(spec), cwd=tmp_path, want=3)
    assert [(event["step"], event["to"]) for event in events(tmp_path / "run", "rolled-back")] == [(4, 3)]
    assert "weights of iter_000000003 again; what 1 steps learned is dropped" in done.stderr
    assert "steps 5 to 7: the gradient norm is nan" in done.stderr and "It was rolled back 1 times." in done.stderr
    assert not (tmp_path / "run/run.json").exists()
