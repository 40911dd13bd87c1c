"""Recipes of the structured dialect on their hardware and on less: what is proposed fits when it is planned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tao_runtime.data import cosmos3_vision, cosmos_predict2
from tao_runtime.plan.clip_costs import largest_clip, latents_bytes
from tao_runtime.plan.costs import Range
from tao_runtime.plan.make import fit_plan
from tao_runtime.plan.memory.estimate import Setting, estimate_memory
from tao_runtime.plan.memory.fit import Fit, judge, parse_devices
from tao_runtime.plan.memory.sizes import measure
from tao_runtime.plan.memory.text_video import ClipLoad, clip_activations, text_video_network
from tao_runtime.plan.memory.tokenizer import WAN21
from tao_runtime.plan.memory.two_towers import PackLoad, pack_activations, two_tower_network
from tao_runtime.plan.model import BatchPlan, MeshPlan, ModelPlan, OptimizerPlan, PrecisionPlan, TrainPlan
from tao_runtime.plan.structured_fit import Divides, shared_knobs
from tao_runtime.preflight.prepare import Prepared, prepare
from tao_runtime.preflight.rules.host import disk

SKILLS = Path(__file__).parents[3] / "skills"
RECIPES = {path.stem: path for path in SKILLS.glob("*/assets/recipes/*")}
# The hardware that the first line of a recipe names, and what is thought of it there.
HARDWARE = {
    "full_8gpu": ("8x80GB", "fits"),  # without data: every sample as long as the limit
    "lora_1gpu": ("80GB", "fits"),
    "lora_8gpu": ("8x80GB", "fits"),
    "llava_ov": ("8x80GB", "fits"),
    "videophy2_sft_nano": ("8x80GB", "fits"),
    "vision_sft_nano": ("8x80GB", "fits"),
    "vision_sft_super": ("8x80GB", "tight"),
    "text2world_7b": ("8x80GB", "tight"),
    "text2world_7b_4gpu_80gb": ("4x80GB", "fits"),
    "text2world_7b_8gpu_40gb": ("8x40GB", "fits"),
    "text2world_7b_4gpu_40gb": ("4x40GB", "fits"),
    "text2world_7b_lora": ("4x80GB", "fits"),
    "text2world_14b": ("32x80GB", "tight"),
    "video2world_2b": ("8x80GB", "fits"),
    "video2world_14b": ("32x80GB", "fits"),
    "video2world_2b_lora": ("8x80GB", "fits"),
    "video2world_14b_lora": ("32x80GB", "fits"),
    "video2world_custom": ("8x80GB", "fits"),
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that only plans."""
    for name in ("DATASET_PATH", "BASE_CHECKPOINT_PATH", "WAN_VAE_PATH", "VIDEOPHYSICS_ROOT", "VLM_SAFETENSORS_PATH",
                 "IMAGINAIRE_OUTPUT_ROOT", "OUTPUT_ROOT", "HF_TOKEN"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def planned(name: str, devices: str, *overrides: str) -> Prepared:
    return prepare(RECIPES[name], overrides, action="train", nproc=parse_devices(devices).count)


def find(name: str, devices: str, *overrides: str) -> Fit:
    prepared = planned(name, devices, *overrides)
    found = fit_plan(prepared.spec, prepared.facts, prepared.plan, parse_devices(devices))
    assert found is not None
    return found


def test_every_recipe_has_its_hardware() -> None:
    assert set(HARDWARE) == set(RECIPES)


@pytest.mark.parametrize("name", HARDWARE)
def test_a_recipe_is_judged_on_its_own_hardware(name: str) -> None:
    devices, verdict = HARDWARE[name]
    plan = planned(name, devices).plan
    assert isinstance(plan, TrainPlan)
    assert judge(plan.estimate.memory, parse_devices(devices)) == verdict
    assert plan.estimate.checkpoint_bytes and plan.estimate.export_bytes and plan.estimate.trainable_parameters


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        *[(name, devices) for name, (devices, verdict) in HARDWARE.items() if verdict == "tight"],
        ("text2world_7b", "24GB"),
        ("text2world_7b", "8x40GB"),
        ("text2world_7b_lora", "24GB"),
        ("video2world_2b", "24GB"),
        ("video2world_2b", "4x40GB"),
        ("video2world_14b", "8x40GB"),
        ("vision_sft_nano", "8x40GB"),
        ("vision_sft_nano", "80GB"),
        ("llava_ov", "8x40GB"),
        ("videophy2_sft_nano", "8x32GB"),
    ],
)
def test_what_is_proposed_fits_when_it_is_planned(name: str, devices: str) -> None:
    found = find(name, devices)
    assert found.verdict in {"tight", "does not fit", "not known"}
    assert found.nearest is not None, "something fits"
    changes = [f"{key}={json.dumps(value)}" for key, value in found.nearest.overrides.items()]
    again = find(name, devices, *changes)
    assert again.memory is not None
    assert again.verdict == found.nearest.verdict
    assert again.memory.total.expected == pytest.approx(found.nearest.memory.total.expected, rel=0.02)


def test_the_nearest_run_changes_as_little_as_it_can() -> None:
    near = find("text2world_7b", "8x80GB").nearest
    assert near is not None and near.overrides == {
        "model.parallelism.data_parallel_shard_degree": 4,
        "model.parallelism.context_parallel_shard_degree": 2,
    }


@pytest.mark.parametrize("name", ["text2world_7b", "vision_sft_nano", "llava_ov"])
@pytest.mark.parametrize("devices", [1, 3, 8])
def test_every_mesh_that_is_proposed_is_one_of_so_many_processes(name: str, devices: int) -> None:
    given = [f"model.parallelism.{key}_degree=2" for key in ("data_parallel_shard", "cfg_parallel_shard")]
    prepared = planned(name, f"{devices}x80GB", *given)
    assert isinstance(prepared.plan, TrainPlan)
    meshes = shared_knobs(prepared.spec, prepared.plan, Divides(heads=8), world=devices)[0]
    assert meshes
    for option in meshes:
        changes = [f"{key}={json.dumps(value)}" for key, value in option.overrides.items()]
        again = planned(name, f"{devices}x80GB", *given, *changes)
        assert "structured/mesh-product" not in {finding.rule for finding in again.report.findings}, changes


@pytest.mark.parametrize("devices", ["8x48GB", "80GB"])
def test_clips_that_fill_a_pack_are_made_of_smaller_frames(devices: str) -> None:
    prepared = planned("vision_sft_nano", devices, "dataloader_train.resolution=720")
    plan = prepared.plan
    assert isinstance(plan, TrainPlan) and plan.batch.pack_tokens
    full = plan.model_copy(update={"estimate": plan.estimate.model_copy(update={"max_tokens": plan.batch.pack_tokens})})
    found = fit_plan(prepared.spec, prepared.facts, full, parse_devices(devices))
    assert found is not None and found.nearest is not None
    changes = found.nearest.overrides
    assert changes["dataloader_train.resolution"] in {"480", "256"}
    assert changes["model.max_num_tokens_after_packing"] < plan.batch.pack_tokens  # type: ignore[operator]
    again = find("vision_sft_nano", devices, *(f"{key}={json.dumps(value)}" for key, value in changes.items()))
    assert again.memory is not None and again.verdict == found.nearest.verdict
    assert again.memory.total.expected == pytest.approx(found.nearest.memory.total.expected, rel=0.02)


@pytest.mark.parametrize("name", ["text2world_7b", "video2world_2b", "vision_sft_nano"])
def test_latents_on_disk_are_those_of_every_sample_up_to_the_budget(name: str) -> None:
    prepared = planned(name, "8x80GB")
    plan = prepared.plan
    assert isinstance(plan, TrainPlan) and plan.estimate.latents_bytes
    assert plan.estimate.latents_bytes <= plan.data.cache_bytes
    one_step = plan.model_copy(update={
        "steps": plan.steps.model_copy(update={"total": 1}),
        "batch": plan.batch.model_copy(update={"global_batch": 2}),
    })  # fmt: skip
    rules, (frames, height, width) = plan.data.clips, largest_clip(plan)
    assert rules is not None
    channels, steps, rows, columns = rules.latent.shape(frames, height, width)
    assert latents_bytes(one_step, prepared.facts) == 2 * 4 * channels * steps * rows * columns
    free = 10_000 * (plan.estimate.checkpoint_bytes or 0)
    facts = replace(prepared.facts, host=replace(prepared.facts.host, free_disk_bytes=free))
    assert list(disk(prepared.spec, facts, plan)) == []
    filled = plan.model_copy(update={"estimate": plan.estimate.model_copy(update={"latents_bytes": free})})
    [problem] = disk(prepared.spec, facts, filled)
    assert "latents of clips up to" in problem.saw


def test_nothing_is_invented_where_nothing_fits() -> None:
    found = find("vision_sft_super", "24GB")
    assert found.verdict != "fits" and found.nearest is None


DIT = text_video_network(cosmos_predict2.NETWORKS["2B"])
OMNI = two_tower_network(cosmos3_vision.NETWORKS["nano"])
assert DIT is not None and OMNI is not None
SIZES = {
    "clips": measure(DIT, ModelPlan(path="m", max_length=1)),
    "packs": measure(OMNI, ModelPlan(path="m", max_length=1)),
}
HOWS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["clips", "packs"]),
        "mode": st.sampled_from(["none", "selective", "full"]),
        "shards": st.sampled_from([1, 2, 4, 32]),
        "cp": st.sampled_from([1, 2, 4, 8]),
        "averaged": st.booleans(),
        "samples": st.integers(1, 4),
        "frames": st.integers(1, 32),
    }
)


def memory(kind: str, mode: str, shards: int, cp: int, averaged: bool, samples: int, frames: int) -> Range:
    if kind == "clips":
        load = ClipLoad(samples, frames * 3520, frames * 16 * 88 * 160, 512, by_frame=True)
        found = clip_activations(DIT, load, mode=mode, compute=2, cp=cp, learning=SIZES[kind].learning)  # type: ignore[arg-type]
    else:
        pack, learning = PackLoad(samples * frames * 1000, samples * 300), SIZES[kind].learning
        found = pack_activations(OMNI, pack, mode=mode, compute=2, cp=cp, learning=learning)  # type: ignore[arg-type]
    setting = Setting(
        SIZES[kind],
        PrecisionPlan(master="float32", compute="bfloat16", reduce="float32", activation_checkpointing=mode),  # type: ignore[arg-type]
        MeshPlan(world=shards * cp, dp_replicate=1, dp_shard=shards, cp=cp),
        BatchPlan(per_rank=samples, micro=samples, accumulation=1, data_parallel=shards, global_batch=samples * shards),
        OptimizerPlan(name="AdamW", lr={"global": 1e-6}, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01,
                      implementation="fused", grad_clip=1.0),
        averaged=averaged,
        tokenizer=WAN21.memory(4 * frames - 3, 704, 1280),
    )  # fmt: skip
    estimate = estimate_memory(setting, (found, found, found))
    assert estimate is not None
    return estimate.total


@settings(deadline=None, max_examples=150)
@given(how=HOWS)
def test_more_clips_or_frames_never_need_less_and_more_ranks_never_more(how: dict[str, object]) -> None:
    base = memory(**how)  # type: ignore[arg-type]
    assert base.low <= base.expected <= base.high
    for more in ({"samples": how["samples"] + 1}, {"frames": how["frames"] + 1}, {"averaged": True}):  # type: ignore[operator]
        found = memory(**{**how, **more})  # type: ignore[arg-type]
        assert found.low >= base.low and found.expected >= base.expected and found.high >= base.high
    for name in ("shards", "cp"):
        if how["shards"] == how["cp"] == 1:
            continue  # a second process needs buffers of its own
        found = memory(**{**how, name: how[name] * 2})  # type: ignore[arg-type, operator]
        assert found.low <= base.low and found.expected <= base.expected and found.high <= base.high
