"""Packed equals one by one: outputs and gradients, for samples that differ in text, size, length and given frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranks import on_ranks

torch = pytest.importorskip("torch")

import torch.distributed as dist

from tao_runtime.engine.demo.cosmos3_vision import tiny_network
from tao_runtime.engine.families.cosmos3_vision.context_parallel import split_tokens
from tao_runtime.engine.families.cosmos3_vision.packing import (
    PackedAttention,
    PackSample,
    install,
    pack,
    run_packed,
)

SIZES = [(30, (5, 4, 4), 0), (39, (5, 4, 4), 1), (12, (3, 6, 4), 2), (25, (1, 4, 4), 0), (7, (2, 3, 5), 1)]


def some_samples(sizes=tuple(SIZES)) -> list[PackSample]:
    torch.manual_seed(1)
    return [
        PackSample(torch.randint(0, 40, (length,)), torch.randn(16, *shape), 100.0 * number, given, fps=16.0)
        for number, (length, shape, given) in enumerate(sizes, 1)
    ]


def a_network(**changes):
    network = tiny_network(num_hidden_layers=2, **changes)
    torch.manual_seed(0)
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return network


def mean_square(outputs) -> torch.Tensor:
    return sum(output.square().mean() for output in outputs) / len(outputs)


def gradients(network) -> dict[str, torch.Tensor]:
    found = {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}
    network.zero_grad()
    return found


def alone(network, sample: PackSample) -> torch.Tensor:
    """The library's own forward: its own attention, one sample."""
    arguments = pack([sample], network.config, temporal_compression=4).arguments
    return network(**arguments).sample[0][0]


@pytest.mark.parametrize("key_norm", [False, True], ids=["silu", "relu2 with a key norm"])
def test_packed_equals_one_by_one(key_norm: bool) -> None:
    edge = {"hidden_act": "relu2", "qk_norm_for_text": False, "use_und_k_norm_for_gen": True}
    network, samples = a_network(**(edge if key_norm else {})), some_samples()
    singly = [alone(network, sample) for sample in samples]
    mean_square(singly).backward()
    wanted = gradients(network)
    processor = PackedAttention()
    install(network, processor)
    together = run_packed(network, pack(samples, network.config, temporal_compression=4), processor)
    mean_square(together).backward()
    found = gradients(network)
    for one, other in zip(singly, together, strict=True):
        assert (one - other).abs().max() < 1e-6 * max(1, one.abs().max())
    assert found.keys() == wanted.keys()
    for name, grad in wanted.items():
        assert (grad - found[name]).abs().max() < 1e-8 * max(1, 100 * float(grad.abs().max())), name


def test_recomputed_activations_give_the_same_gradient() -> None:
    network, samples, processor = a_network(), some_samples(), PackedAttention()
    install(network, processor)
    packed = pack(samples, network.config, temporal_compression=4)
    mean_square(run_packed(network, packed, processor)).backward()
    wanted = gradients(network)
    network.enable_gradient_checkpointing()
    mean_square(run_packed(network, packed, processor)).backward()
    assert all(torch.allclose(grad, wanted[name], atol=1e-8) for name, grad in gradients(network).items())


def test_samples_do_not_see_each_other() -> None:
    network, processor = a_network(), PackedAttention()
    install(network, processor)
    before, changed = some_samples(), some_samples()
    changed[1].latents_CTHW.add_(1)
    changed[1].ids.add_(1)
    one, other = (
        run_packed(network, pack(samples, network.config, temporal_compression=4), processor)
        for samples in (before, changed)
    )
    assert [torch.equal(a, b) for a, b in zip(one, other, strict=True)] == [True, False, True, True, True]


def test_the_pack_says_where_samples_lie() -> None:
    packed = pack(some_samples(SIZES[:3]), a_network().config, temporal_compression=4)
    assert packed.layout.text_lengths == (30, 39, 12)
    assert packed.layout.video_lengths == (20, 20, 18)
    assert packed.num_tokens == packed.arguments["sequence_length"] == 139
    assert packed.arguments["position_ids"].shape == (3, 139)
    assert len(packed.arguments["vision_mse_loss_indexes"]) == 20 + 16 + 6


def test_library_positions_are_those_of_its_pipeline() -> None:
    """What a pipeline would build for the same prompt and clip, part by part."""
    from tao_runtime.engine.demo.cosmos3_vision import tiny_pipeline, tiny_vae

    network = a_network()
    pipeline = tiny_pipeline(network, tiny_vae())
    [sample] = some_samples([SIZES[1]])
    text = pipeline._prepare_text_segment(sample.ids.tolist(), "cpu")
    video = pipeline._prepare_vision_segment(
        sample.latents_CTHW[None],
        False,
        text["vision_start_temporal_offset"],
        16.0,
        text["und_len"],
        "cpu",
        condition_frame_indexes=[0],
    )
    ours = pack([sample], network.config, temporal_compression=4).arguments
    positions = torch.cat([text["text_mrope_ids"], video["vision_mrope_ids"]], dim=1)
    assert torch.equal(ours["position_ids"], positions)
    for key in ("vision_token_shapes", "vision_sequence_indexes", "vision_mse_loss_indexes"):
        assert torch.equal(torch.as_tensor(ours[key]), torch.as_tensor(video[key])), key


def two_ranks_equal_one() -> None:
    group = dist.group.WORLD
    for heads in ({"num_key_value_heads": 2}, {"num_key_value_heads": 1}):
        samples, whole, split = some_samples(), a_network(**heads), a_network(**heads)
        packed = pack(samples, whole.config, temporal_compression=4)
        processor = PackedAttention()
        install(whole, processor)
        outputs = run_packed(whole, packed, processor)
        mean_square(outputs).backward()
        own = run_packed(split, packed, split_tokens(split, group))
        (mean_square(own) / group.size()).backward()
        for one, other in zip(outputs, own, strict=True):
            assert (one - other).abs().max() < 1e-6 * max(1, one.abs().max())
        for (name, value), (_, one) in zip(split.named_parameters(), whole.named_parameters(), strict=True):
            if one.grad is None:
                continue
            dist.all_reduce(value.grad)
            assert (value.grad - one.grad).abs().max() < 1e-6 * max(1, float(one.grad.abs().max())), name


@pytest.mark.slow  # tests/contracts/test_video_training.py trains so
def test_two_context_parallel_ranks_equal_one(tmp_path: Path) -> None:
    on_ranks(two_ranks_equal_one, tmp_path)
