"""Latent frames over two ranks: the network's output and gradients are those of one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranks import on_ranks

torch = pytest.importorskip("torch")

import torch.distributed as dist

from tao_runtime.engine.context_parallel.dit import split_frames
from tao_runtime.engine.demo import cosmos_predict1, cosmos_predict2
from tao_runtime.engine.dit import run_dit, supply_resize
from tao_runtime.engine.objectives import rectified_flow as flow
from tao_runtime.engine.objectives.draw import sample_generator

SMALL = {"num_layers": 2, "attention_head_dim": 16, "mlp_ratio": 2.0, "adaln_lora_dim": 16}
RECIPE = flow.RectifiedFlowRecipe()
SHAPE = (16, 4, 8, 8)


def a_network(demo):
    """A network whose gates are open and whose positions are learnt: everything that depends on place matters."""
    network = demo.tiny_network(**SMALL)
    torch.manual_seed(0)
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return network


def numerator(network, noised: flow.RectifiedNoised, text) -> tuple[torch.Tensor, torch.Tensor]:
    given = noised.condition_B1THW if network.config.in_channels == 17 else None
    output = run_dit(network, noised.input_BCTHW, noised.timestep_B1T11, text, fps=16, condition_B1THW=given)
    return output, flow.loss_sums(output, noised, RECIPE)[0]


def two_ranks_equal_one() -> None:
    supply_resize()
    group = dist.group.WORLD
    draws = [flow.draw(SHAPE, sample_generator(0, 0, number), RECIPE) for number in range(2)]
    torch.manual_seed(1)
    noised = flow.noise(torch.randn(2, *SHAPE), draws, RECIPE)
    text = torch.randn(2, 5, 32)
    for demo in (cosmos_predict1, cosmos_predict2):
        whole, split = a_network(demo), a_network(demo)
        output, loss = numerator(whole, noised, text)
        loss.backward()
        split_frames(split, group)
        own_output, own_loss = numerator(split, noised.frames(group.rank(), group.size()), text)
        own_loss.backward()
        wanted = output.chunk(group.size(), dim=2)[group.rank()]
        assert (own_output - wanted).abs().max() < 1e-6 * output.abs().max()
        total = own_loss.detach().clone()
        dist.all_reduce(total)
        assert torch.allclose(total, loss, rtol=1e-6)
        for (name, value), (_, one) in zip(split.named_parameters(), whole.named_parameters(), strict=True):
            dist.all_reduce(value.grad)
            assert (value.grad - one.grad).abs().max() < 1e-6 * max(1, one.grad.abs().max()), name


def sharded_ranks_equal_one() -> None:
    """The trainer's own rule: FSDP over all ranks averages, so each numerator counts ranks / weight."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    supply_resize()
    group = dist.group.WORLD
    draws = [flow.draw(SHAPE, sample_generator(0, 0, number), RECIPE) for number in range(2)]
    torch.manual_seed(1)
    noised, text = flow.noise(torch.randn(2, *SHAPE), draws, RECIPE), torch.randn(2, 5, 32)
    whole, split = a_network(cosmos_predict2), a_network(cosmos_predict2)
    (numerator(whole, noised, text)[1] / 2).backward()
    split_frames(split, group)
    mesh = init_device_mesh("cpu", (2,))
    for block in split.transformer_blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(split, mesh=mesh)
    _, own_loss = numerator(split, noised.frames(group.rank(), group.size()), text)
    (own_loss * group.size() / 2).backward()
    for (name, value), (_, one) in zip(split.named_parameters(), whole.named_parameters(), strict=True):
        grad = value.grad.full_tensor()
        assert (grad - one.grad).abs().max() < 1e-6 * max(1, one.grad.abs().max()), name


@pytest.mark.parametrize(
    "law",
    [pytest.param(two_ranks_equal_one, marks=pytest.mark.slow), sharded_ranks_equal_one],
    ids=lambda law: law.__name__,
)
def test_on_two_ranks(law, tmp_path: Path) -> None:
    on_ranks(law, tmp_path)
