"""The chunked loss is the plain one: value and gradient."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: N812

from tao_runtime.engine.losses import summed_nll


@pytest.mark.parametrize("chunk_rows", [1, 7, 16, 100])
def test_any_chunk_gives_the_same_loss_and_gradient(chunk_rows: int) -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(16, 8, requires_grad=True), torch.nn.Linear(8, 50, bias=False)
    targets = torch.randint(0, 50, (16,))
    plain = F.cross_entropy(head(hidden), targets, reduction="sum")
    wanted = torch.autograd.grad(plain, [hidden, head.weight])
    ours = summed_nll(hidden, targets, head, vocabulary=50, chunk_numbers=50 * chunk_rows)
    assert ours.item() == pytest.approx(plain.item(), rel=1e-6)
    for got, want in zip(torch.autograd.grad(ours, [hidden, head.weight]), wanted, strict=True):
        assert torch.allclose(got, want, atol=1e-5)


def test_nothing_supervised_still_reaches_the_head() -> None:
    head = torch.nn.Linear(8, 50, bias=False)
    loss = summed_nll(torch.zeros(0, 8), torch.zeros(0, dtype=torch.long), head, vocabulary=50)
    loss.backward()
    assert loss.item() == 0
    assert head.weight.grad is not None
    assert float(head.weight.grad.abs().sum()) == 0
