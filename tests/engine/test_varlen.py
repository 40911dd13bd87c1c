"""Attention between segments against plain attention on each segment alone."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: N812

from tao_runtime.engine.varlen import exact_segments, segment_attention


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize(
    ("q_lengths", "k_lengths"), [((5,), (9,)), ((4, 4), (6, 6)), ((3, 7, 3, 1), (3, 9, 5, 1))], ids=str
)
def test_each_segment_is_alone(q_lengths, k_lengths, kv_heads: int) -> None:
    torch.manual_seed(0)
    q = torch.randn(sum(q_lengths), 4, 8)
    k, v = (torch.randn(sum(k_lengths), kv_heads, 8) for _ in range(2))
    alone = [
        F.scaled_dot_product_attention(*(each.transpose(0, 1)[None] for each in part), enable_gqa=True)[0]
        for part in zip(q.split(q_lengths), k.split(k_lengths), v.split(k_lengths), strict=True)
    ]
    together = segment_attention(q, k, v, q_lengths, k_lengths)
    assert torch.allclose(together, torch.cat([each.transpose(0, 1) for each in alone]), atol=1e-6)


def test_causal_segments_do_not_see_ahead() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(7, 2, 8) for _ in range(3))
    before = segment_attention(q, k, v, (4, 3), (4, 3), causal=True)
    k[3], v[3] = 9.0, 9.0  # the last of the first segment
    after = segment_attention(q, k, v, (4, 3), (4, 3), causal=True)
    changed = (before != after).flatten(1).any(1).tolist()
    assert changed == [False, False, False, True, False, False, False]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="the variable-length kernel needs CUDA")
def test_the_kernel_agrees_with_the_exact_path() -> None:
    q_lengths, k_lengths = (30, 70, 30), (50, 75, 31)
    q = torch.randn(130, 8, 64, device="cuda", dtype=torch.bfloat16)
    k, v = (torch.randn(156, 2, 64, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    ours = segment_attention(q, k, v, q_lengths, k_lengths)
    exact = exact_segments(q.float(), k.float(), v.float(), q_lengths, k_lengths, causal=False)
    assert torch.allclose(ours.float(), exact, atol=2e-2)
