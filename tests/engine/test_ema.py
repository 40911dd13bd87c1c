"""The power EMA equals its definition, on one process and on sharded weights, and puts the weights back."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from ranks import on_ranks

torch = pytest.importorskip("torch")

import numpy as np

from tao_runtime.engine.ema import PowerEma, power_beta, power_exponent


def a_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 3))


def train(model, ema: PowerEma, steps: int) -> list[dict[str, torch.Tensor]]:
    """Move the weights and average them; returns the weights after each step."""
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=0.05)
    seen = []
    for step in range(steps):
        inputs = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        model(inputs).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.update(step)
        seen.append({name: value.detach().clone() for name, value in model.named_parameters()})
    return seen


def test_exponent_and_betas_are_those_of_the_paper() -> None:
    """A profile of relative width 0.1 has gamma 6.94 (EDM2, section 3.1), 0.05 has 16.97."""
    assert power_exponent(0.1) == pytest.approx(6.94, abs=0.005)
    assert power_exponent(0.05) == pytest.approx(16.97, abs=0.005)
    assert [power_beta(step, 6.94) for step in (0, 1, 99)] == pytest.approx([0, 0.5**7.94, 0.99**7.94])


def test_the_width_of_the_profile_is_the_rate() -> None:
    """The weights that the average puts on past steps have standard deviation rate x steps."""
    steps, exponent = 2000, power_exponent(0.1)
    betas = np.array([power_beta(step, exponent) for step in range(steps)])
    shares = (1 - betas) * np.append(np.cumprod(betas[::-1])[::-1][1:], 1)
    times = np.arange(steps)
    mean = (shares * times).sum()
    assert shares.sum() == pytest.approx(1)
    assert np.sqrt((shares * (times - mean) ** 2).sum()) / steps == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("shift", [0, 7])
def test_fifty_updates_equal_the_definition(shift: int) -> None:
    model = a_model()
    ema = PowerEma(model, rate=0.1, num=2, iteration_shift=shift)
    start = copy.deepcopy(dict(model.named_parameters()))
    seen = train(model, ema, 50)
    for number, rate in enumerate((0.1, 0.05)):
        for name in start:
            wanted = start[name].detach().double()
            for step, weights in enumerate(seen):
                k = step + shift
                beta = 0.0 if k < 1 else (1 - 1 / (k + 1)) ** (power_exponent(rate) + 1)
                wanted = beta * wanted + (1 - beta) * weights[name].double()
            assert torch.allclose(ema.state_dict()[f"{number}.{name}"], wanted.float(), atol=1e-6)


def test_first_update_copies_the_weights() -> None:
    model = a_model()
    ema = PowerEma(model)
    [weights] = train(model, ema, 1)
    assert all(torch.equal(ema.state_dict()[f"0.{name}"], value) for name, value in weights.items())


def test_weights_come_back_after_an_error() -> None:
    model = a_model()
    ema = PowerEma(model)
    last = train(model, ema, 5)[-1]
    with pytest.raises(KeyError, match="inside"), ema.applied():
        applied = {name: value.detach().clone() for name, value in model.named_parameters()}
        raise KeyError("inside")
    assert all(torch.equal(value, last[name]) for name, value in model.named_parameters())
    assert all(torch.equal(applied[name], ema.state_dict()[f"0.{name}"]) for name in applied)
    assert not torch.equal(applied["0.weight"], last["0.weight"])


def test_half_precision_weights_have_a_float32_average() -> None:
    model = a_model().to(torch.bfloat16)
    ema = PowerEma(model)
    for step in range(3):
        model[0].weight.data.add_(0.01)
        ema.update(step)
    assert {value.dtype for value in ema.state_dict().values()} == {torch.float32}
    before = model[0].weight.detach().clone()
    with ema.applied():
        assert model[0].weight.dtype == torch.bfloat16
    assert torch.equal(model[0].weight, before)


def test_frozen_parameters_have_no_average() -> None:
    model = a_model()
    model[0].requires_grad_(False)
    assert set(PowerEma(model).state_dict()) == {"0.1.weight", "0.1.bias"}


def test_a_saved_average_goes_on_as_if_never_interrupted() -> None:
    model, other = a_model(), a_model()
    ema, resumed = PowerEma(model), PowerEma(other)
    train(model, ema, 10)
    resumed.load_state_dict(ema.state_dict())
    other.load_state_dict(model.state_dict())
    for step in (10, 11):
        for each, average in ((model, ema), (other, resumed)):
            each[0].weight.data.mul_(1.1)
            average.update(step)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in ema.state_dict().items())
    with pytest.raises(KeyError):
        resumed.load_state_dict({})


def sharded_equals_whole() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    whole, sharded = a_model(), a_model()
    mesh = init_device_mesh("cpu", (2,))
    for layer in sharded:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    ema, own = PowerEma(whole, num=2), PowerEma(sharded, num=2)
    train(whole, ema, 20)
    train(sharded, own, 20)
    state = {name: value.full_tensor() for name, value in own.state_dict().items()}
    assert state.keys() == ema.state_dict().keys()
    assert all(torch.allclose(value, ema.state_dict()[name], atol=1e-6) for name, value in state.items())
    assert own.state_dict()["0.0.weight"].to_local().numel() < whole[0].weight.numel()
    inputs = torch.ones(2, 6)
    with ema.applied(), own.applied():
        assert torch.allclose(sharded(inputs), whole(inputs), atol=1e-5)
    assert torch.allclose(sharded(inputs), whole(inputs), atol=1e-4)


def test_two_fsdp_ranks_equal_one_process(tmp_path: Path) -> None:
    on_ranks(sharded_equals_whole, tmp_path)
