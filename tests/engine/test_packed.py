"""Packed attention against plain attention on each segment alone."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: N812

from tao_runtime.engine.packed import exact_attention


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("lengths", [[5], [4, 4, 4], [3, 7, 3, 1, 7]], ids=str)
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_each_segment_is_alone(lengths: list[int], kv_heads: int, causal: bool) -> None:
    torch.manual_seed(0)
    total = sum(lengths)
    q, k, v = (torch.randn(heads, total, 8) for heads in (4, kv_heads, kv_heads))
    packed = exact_attention(q, k, v, lengths, scale=0.3, causal=causal)
    parts = [tensor.split(lengths, dim=1) for tensor in (q, k, v)]
    alone = [
        F.scaled_dot_product_attention(a[None], b[None], c[None], scale=0.3, is_causal=causal, enable_gqa=True)[0]
        for a, b, c in zip(*parts, strict=True)
    ]
    assert torch.allclose(packed, torch.cat(alone, dim=1).transpose(0, 1), atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="the variable-length kernel needs CUDA")
def test_the_kernel_agrees_with_the_exact_path() -> None:
    from tao_runtime.engine.packed import _varlen_kernel

    lengths = [30, 70, 30]
    q, k, v = (torch.randn(heads, 130, 64, device="cuda", dtype=torch.bfloat16) for heads in (8, 2, 2))
    offsets = torch.tensor([0, 30, 100, 130], device="cuda", dtype=torch.int32)
    ours = _varlen_kernel(q, k, v, offsets, longest=70, scale=0.125, causal=True)
    exact = exact_attention(q.float(), k.float(), v.float(), lengths, scale=0.125, causal=True)
    assert torch.allclose(ours.float(), exact, atol=2e-2)
