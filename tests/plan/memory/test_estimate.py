"""Memory of a rank: against a tracker's figures for the 8B model, and the laws that any estimate must obey."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eight_billion import CONFIG
from tao_runtime.plan.costs import MemoryPlan
from tao_runtime.plan.memory.activations import LOGIT_BYTES, Activations, Load, activations
from tao_runtime.plan.memory.estimate import Setting, estimate_memory
from tao_runtime.plan.memory.network import vision_language_network
from tao_runtime.plan.memory.sizes import measure
from tao_runtime.plan.model import BatchPlan, LoraPlan, MeshPlan, ModelPlan, OptimizerPlan, PrecisionPlan

GIB = 2**30
NETWORK = vision_language_network(CONFIG)
assert NETWORK is not None
FULL = measure(NETWORK, ModelPlan(path="m", max_length=1))
LORA = measure(NETWORK, ModelPlan(path="m", max_length=1, lora=LoraPlan(
    r=8, alpha=8, dropout=0, target_modules=("q_proj", "v_proj"), modules_to_save=(), use_rslora=False, init=True,
    rank_pattern={}, alpha_pattern={},
)))  # fmt: skip
MODES = st.sampled_from(["none", "selective", "full"])


def setting(shards: int = 8, *, cp: int = 1, lora: bool = False, accumulation: int = 1, **precision: Any) -> Setting:
    names = {"master": "float32", "compute": "bfloat16", "reduce": "float32", "activation_checkpointing": "full"}
    return Setting(
        LORA if lora else FULL,
        PrecisionPlan(**{**names, **precision}),
        MeshPlan(world=shards * cp, dp_replicate=1, dp_shard=shards, cp=cp),
        BatchPlan(per_rank=accumulation, micro=1, accumulation=accumulation, data_parallel=shards, global_batch=shards),
        OptimizerPlan(name="AdamW", lr={"global": 1e-6}, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01,
                      implementation="fused", grad_clip=1.0),
    )  # fmt: skip


def memory(load: Load, **how: Any) -> MemoryPlan:
    made = setting(**how)
    mode = made.precision.activation_checkpointing
    ends = activations(NETWORK, load, mode=mode, compute=2, cp=made.mesh.cp, learning=made.sizes.learning)
    found = estimate_memory(made, ends)
    assert found is not None
    return found


def test_eight_billion_over_eight_ranks_as_a_tracker_counts_it() -> None:
    """FSDPMemTracker, sequence 8192, text only, float32 master, full recomputation: 4.08 GiB of weights, 8.17 of AdamW.

    Its activations (9.52) and temporaries (9.27) hold logits of all 8192 rows, which the engine never makes.
    """
    found = memory(Load(8192, 0, 8192))
    assert found.weights / GIB == pytest.approx(4.08, abs=0.01)
    assert found.optimizer / GIB == pytest.approx(8.17, abs=0.01)
    _, expected, _ = activations(NETWORK, Load(8192, 0, 8192), mode="full", compute=2, cp=1, learning=FULL.learning)
    everything = expected.kept + 8192 * NETWORK.vocabulary * (LOGIT_BYTES[1] + 2)  # and their copy in bfloat16
    assert everything / GIB == pytest.approx(9.52 + 9.27, rel=0.02)
    assert found.gathered / GIB == pytest.approx(3.39, rel=0.02)
    assert found.parameters == {"visual": 576_388_336, "language_model": 7_568_405_504, "lm_head": 622_329_856}


def test_adapters_leave_hardly_any_gradients_and_a_frozen_tower_keeps_nothing() -> None:
    load = Load(8192, 8000, 100)
    full, lora = memory(load), memory(load, lora=True)
    assert lora.trainable == 36 * 8 * ((4096 + 4096) + (4096 + 1024))
    assert lora.gradients + lora.optimizer < 0.01 * (full.gradients + full.optimizer)
    assert lora.activations.expected < full.activations.expected


def test_several_micro_batches_keep_their_part_of_the_gradients_and_no_more() -> None:
    load = Load(1024, 0, 100)
    one, several = memory(load), memory(load, accumulation=4)
    assert several.reducing == one.reducing
    assert one.total.expected <= several.total.expected <= one.total.expected + one.gradients
    assert several.total.expected == memory(load, accumulation=8).total.expected


def test_offloading_moves_the_state_to_the_host() -> None:
    several: dict[str, Any] = {"accumulation": 4}
    here, there = memory(Load(1024, 0, 10), **several), memory(Load(1024, 0, 10), offload=True, **several)
    assert there.on_host == here.weights + here.gradients + here.optimizer
    assert here.total.expected - there.total.expected == pytest.approx(there.on_host)


def test_gradients_and_what_is_kept_for_them_are_not_there_at_once() -> None:
    """16,000 tokens: at the top of backward everything is kept and no gradient of a rank's own is there yet.

    One token: at the end of backward only the embeddings' and the head's gradients wait, in bfloat16 and float32.
    """
    long, one = Load(16_000, 12_800, 2_000), Load(1, 0, 1)
    first, several = memory(long), memory(long, accumulation=8)
    assert several.peak - first.peak == first.gradients
    state = first.weights + first.optimizer
    _, expected, _ = activations(NETWORK, long, mode="full", compute=2, cp=1, learning=FULL.learning)
    head = 2 * 622_329_856
    assert first.peak == state + first.gathered + first.reducing + head + expected.kept + expected.block
    root, blocks = FULL.trained.root, FULL.trained.total - FULL.trained.root
    assert root == 2 * 622_329_856 + 4096 + NETWORK.count("model.visual.") - NETWORK.count("model.visual.blocks.")
    assert memory(one).peak == pytest.approx(state + 4 * blocks // 8 + (2 + 4) * root)


LOADS = st.builds(
    lambda visual, text, answer: Load(visual + text, visual, min(answer, text)),
    st.integers(0, 60_000),
    st.integers(1, 20_000),
    st.integers(1, 20_000),
)
HOWS = st.fixed_dictionaries(
    {
        "shards": st.sampled_from([2, 4, 8, 64]),
        "cp": st.sampled_from([1, 2, 4]),
        "lora": st.booleans(),
        "accumulation": st.integers(1, 4),
        "activation_checkpointing": MODES,
        "offload": st.booleans(),
        "reshard_after_forward": st.sampled_from([None, True, False]),
    }
)


@settings(deadline=None, max_examples=150)
@given(load=LOADS, how=HOWS, more=st.integers(0, 5000), count=st.integers(2, 5))
def test_more_tokens_or_samples_never_need_less(load: Load, how: dict[str, Any], more: int, count: int) -> None:
    base = memory(load, **how).total
    for larger in (
        Load(load.tokens + more, load.visual, load.supervised),
        Load(load.tokens + more, load.visual + more, load.supervised),
        Load(load.tokens + more, load.visual, load.supervised + more),
        load.times(count),
    ):
        found = memory(larger, **how).total
        assert (found.low, found.expected, found.high) >= (base.low, base.expected, base.high)
        assert found.low >= base.low and found.expected >= base.expected and found.high >= base.high


@settings(deadline=None, max_examples=100)
@given(load=LOADS, how=HOWS)
def test_more_ranks_or_recomputation_never_need_more_and_the_ends_are_in_order(load: Load, how: dict[str, Any]) -> None:
    base = memory(load, **how).total
    assert base.low <= base.expected <= base.high
    for name, factor in (("shards", 2), ("cp", 2)):
        found = memory(load, **{**how, name: how[name] * factor}).total
        assert found.expected <= base.expected and found.high <= base.high
    order = [
        memory(load, **{**how, "activation_checkpointing": mode}).activations.expected for mode in ("none", "full")
    ]
    assert order[0] >= order[1] or load.tokens < 64
    if how["activation_checkpointing"] != "selective":  # which keeps the products of adapters, too
        pair = [memory(load, **{**how, "lora": lora}).total.expected for lora in (True, False)]
        assert pair[0] <= pair[1]


def test_a_mesh_that_does_not_fit_gives_nothing() -> None:
    broken = setting()
    mesh = broken.mesh.model_copy(update={"dp_shard": None})
    ends = (Activations(1, 1, 1, 1, 1),) * 3
    assert estimate_memory(replace(broken, mesh=mesh), ends) is None
