"""A step whose gradient is not finite changes nothing; a few in a row end the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runs import tao, write_train_spec

torch = pytest.importorskip("torch")

from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from tao_runtime.engine.dist import join_world
from tao_runtime.engine.finite import IN_A_ROW, StepGuard
from tao_runtime.engine.run_dir import RunLog
from tao_runtime.errors import RunError


def state_of(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Copy weights, moments and step counts."""
    moments = [value for state in optimizer.state.values() for value in state.values()]
    whole = (
        value.full_tensor() if hasattr(value, "full_tensor") else value for value in [*model.parameters(), *moments]
    )
    return [value.detach().clone() for value in whole]


def give_gradient(model: torch.nn.Module, value: float) -> torch.Tensor:
    """Set every gradient, one number of which is `value`; returns the norm."""
    model(torch.ones(1, 8)).sum().backward()
    [weight, *_] = model.parameters()
    weight.grad.to_local()[0, 0] = value
    norm = torch.nn.utils.get_total_norm([each.grad for each in model.parameters()])
    return norm.full_tensor()


@pytest.mark.parametrize("kind", [{"fused": True}, {"foreach": True}, {"foreach": False}], ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_no_bit(tmp_path: Path, kind: dict[str, bool], value: float) -> None:
    with join_world():
        model = fully_shard(torch.nn.Linear(8, 8), mesh=init_device_mesh("cpu", (1,)))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5, **kind)
        guard, states = StepGuard(optimizer, RunLog(tmp_path, is_main=True)), []
        for step, number in enumerate((1.0, value, 1.0), start=1):
            norm = give_gradient(model, number)
            guard.step(norm)
            optimizer.zero_grad()
            guard.note(step, norm)
            states.append(state_of(model, optimizer))
    assert len(states[0]) == 2 * (1 + 3)
    assert all(torch.equal(*pair) for pair in zip(states[0], states[1], strict=True))
    assert not any(torch.equal(*pair) for pair in zip(states[1], states[2], strict=True))
    assert guard.skipped == [2] and float(guard.cleaned(torch.tensor(5.0))) == 5.0


def test_a_few_in_a_row_end_the_run_and_a_good_one_between_does_not(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    guard = StepGuard(torch.optim.AdamW([parameter]), RunLog(tmp_path, is_main=True))
    bad, good = torch.tensor(float("nan")), torch.tensor(1.0)
    for step, norm in enumerate([bad] * (IN_A_ROW - 1) + [good] + [bad] * (IN_A_ROW - 1), start=1):
        guard.step(norm)
        guard.note(step, norm)
    with pytest.raises(RunError, match=r"steps 4 to 6: the gradient norm is nan 3 times in a row"):
        guard.note(6, bad)
    assert torch.equal(parameter, torch.ones(2))


def test_a_rate_that_blows_the_weights_up_ends_the_run(demo_material: Path, tmp_path: Path) -> None:
    changes = {"train__optm_lr": 1e30, "train__optm_warmup_steps": 1, "train__train_policy__mini_batch": 4}
    spec = write_train_spec(tmp_path / "train.yaml", demo_material, tmp_path / "run", **changes)
    done = tao("train", "--spec", str(spec), cwd=tmp_path, want=3)
    assert "3 times in a row; want finite numbers. None of these steps changed a weight" in done.stderr
    events = [json.loads(line) for line in (tmp_path / "run/status.jsonl").read_text().splitlines()]
    assert [event["in_a_row"] for event in events if event["event"] == "skipped-step"] == [1, 2, 3]
