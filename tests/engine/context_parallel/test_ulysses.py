"""The exchange between tokens and heads, and its adjoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranks import on_ranks

torch = pytest.importorskip("torch")

import torch.distributed as dist

from tao_runtime.engine.context_parallel.collectives import gather
from tao_runtime.engine.context_parallel.ulysses import check_heads, spread_heads, to_heads, to_tokens


def whole_and_part(*leading: int) -> tuple[torch.Tensor, torch.Tensor]:
    group = dist.group.WORLD
    whole = torch.randn(*leading, 6, 4, 3, generator=torch.Generator().manual_seed(0))
    return whole, whole.chunk(group.size(), dim=-3)[group.rank()].clone().requires_grad_()


def exchanges_are_exact() -> None:
    group = dist.group.WORLD
    for leading in ((), (2,)):
        whole, part = whole_and_part(*leading)
        heads = to_heads(part, group)
        assert torch.equal(heads, whole.chunk(group.size(), dim=-2)[group.rank()])
        assert torch.equal(to_tokens(heads, group), part)


def backward_is_the_adjoint() -> None:
    """<A x, y> summed over ranks is <x, A' y>: each rank's gradient is the whole gradient's own part."""
    group = dist.group.WORLD
    whole, part = whole_and_part()
    weights = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(1))
    (to_heads(part, group) * weights.chunk(group.size(), dim=-2)[group.rank()]).sum().backward()
    assert torch.allclose(part.grad, weights.chunk(group.size())[group.rank()])
    part.grad = None
    # Every rank adds half of the same sum of squares: the gradient is that of one sum.
    (gather(part, group).square().sum() / group.size()).backward()
    assert torch.allclose(part.grad, 2 * whole.chunk(group.size())[group.rank()])


@pytest.mark.parametrize("law", [exchanges_are_exact, backward_is_the_adjoint], ids=lambda law: law.__name__)
def test_on_two_ranks(law, tmp_path: Path) -> None:
    on_ranks(law, tmp_path)


def test_few_key_heads_are_repeated_until_every_rank_has_one() -> None:
    keys = torch.arange(2.0).view(1, 2, 1).requires_grad_()
    spread = spread_heads(keys, 4)
    assert spread.flatten().tolist() == [0, 0, 1, 1]
    spread.sum().backward()
    assert keys.grad.flatten().tolist() == [2, 2]  # a repeated head gets the gradient of all its copies
    assert spread_heads(keys, 2) is keys


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="6 attention heads over 4"):
        check_heads(6, 4)
    with pytest.raises(ValueError, match="3 key heads over 4"):
        spread_heads(torch.zeros(1, 3, 1), 4)
