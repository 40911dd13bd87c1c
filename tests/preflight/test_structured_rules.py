"""Every rule of the structured families fires on its bad input, with these words, and a good input has no finding."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from factory import make_clip, write_annotations
from structured import TASKS, StructuredProject
from tao_runtime.data.families import network_names
from tao_runtime.data.t5 import Encoder, write_embedding
from tao_runtime.preflight.rules import RULES

VISION, REASONER, TEXT, VIDEO = "cosmos3_vision", "cosmos3_reasoner", "cosmos_predict1", "cosmos_predict2"
Break = Callable[[StructuredProject], object]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def short_clip(world: StructuredProject) -> None:
    make_clip(world.data / "videos" / "0.mp4", num_frames=5)


def world_of(size: int, **keys: object) -> Break:
    def change(world: StructuredProject) -> None:
        world.world_size = size
        world.set(**keys)

    return change


def ask(**keys: object) -> Break:
    def change(world: StructuredProject) -> None:
        world.action = "inference"
        world.set(**{f"inference__{key}": value for key, value in keys.items()})

    return change


def ask_of(size: int, **keys: object) -> Break:
    def change(world: StructuredProject) -> None:
        world.world_size = size
        ask(**keys)(world)

    return change


def heads_of(heads: int, size: int) -> Break:
    def change(world: StructuredProject) -> None:
        (world.model / "config.json").write_text(json.dumps({"num_attention_heads": heads}))
        ask_of(size, context_parallel_size=size, num_frames=93)(world)

    return change


def upsampler(kind: str) -> Break:
    def change(world: StructuredProject) -> None:
        folder = world.root / "model-twin"
        (folder / "config.json").write_text(json.dumps({"architectures": [kind] if kind else []}))
        (folder / "tokenizer.json").unlink()
        ask(prompt_upsampler_path=str(folder))(world)

    return change


def long_answer(world: StructuredProject) -> None:
    old = json.loads((world.data / "annotations.json").read_text())
    old[0]["conversations"][1]["value"] = "left " * 9000
    write_annotations(world.data, old)


def other_encoder(world: StructuredProject) -> None:
    (world.data / "t5_xxl").mkdir()
    path, caption = world.data / "t5_xxl" / "0.safetensors", (world.data / "metas" / "0.txt").read_text()
    write_embedding(path, np.zeros((2, 1024), np.float16), caption=caption, encoder=Encoder("org/other", "0" * 64))


def long_caption(world: StructuredProject) -> None:
    (world.data / "metas" / "0.txt").write_text("x" * 600)


def counted(limit: int) -> Break:
    """Give the base its tokenizer, which makes a token of each letter; the captions have 13."""

    def change(world: StructuredProject) -> None:
        (world.model / "text_tokenizer").mkdir()
        (world.model / "text_tokenizer" / "tokenizer.json").write_bytes((world.model / "tokenizer.json").read_bytes())
        world.set(dataloader_train__max_caption_tokens=limit)

    return change


def two_rates(world: StructuredProject) -> None:
    make_clip(world.data / "videos" / "0.mp4", num_frames=24, fps=30)
    world.world_size = 1
    world.set(dataloader_train__batch_size=2)


def based_on(family: str, size: str, cp: int = 1, **changes: object) -> Break:
    """Give the base the configuration of another size."""

    def change(world: StructuredProject) -> None:
        config = {**network_names(family).NETWORKS[size], **changes}
        (world.model / "config.json").write_text(json.dumps(config))
        world.world_size = cp
        world.set(**{CP: cp})

    return change


def one_file(world: StructuredProject) -> None:
    """Name one of upstream's files as the base."""
    file = world.model.parent / "model.pt"
    file.write_bytes(b"weights")
    world.set(checkpoint__load_path=str(file))


SHARD, REPLICATE = (
    "model__parallelism__data_parallel_shard_degree",
    "model__parallelism__data_parallel_replicate_degree",
)
CP = "model__parallelism__context_parallel_shard_degree"
# (rule, family, how to break it, words that the finding must have)
BAD: list[tuple[str, str, Break, str]] = [
    ("structured/mesh-product", VISION, world_of(6, **{SHARD: 4}), "4 shards = 4, and 6 processes; want the product"),
    ("structured/mesh-product", VISION, world_of(6, **{SHARD: -1, REPLICATE: -1}), "at most one degree to infer"),
    ("structured/mesh-product", TEXT, world_of(2, **{SHARD: 0}), "0; want -1, or at least 1"),
    ("structured/guidance-parallel", VISION,
     world_of(2, model__parallelism__cfg_parallel_shard_degree=2), "training has one pass"),
    ("structured/warmup", VIDEO, lambda w: w.set(scheduler__warm_up_steps=[2000]), "2000 of 500 steps are warm-up"),
("structured/repeats", VIDEO, lambda w: w.set(trainer__max_iter=700), "each of 6 samples about 117 times"),
    ("structured/repeats", REASONER, lambda w: w.set(trainer__max_iter=9000), "each of 8 samples about 1,125 times"),
    ("structured/repeats", VISION, lambda w: w.set(trainer__max_iter=700), "each of 6 samples about 117 times"),
    ("structured/step-repeats", VISION, lambda w: w.set(trainer__grad_accum_iter=8), "takes about 8 samples of 6"),
    ("structured/dropped-records", VIDEO, world_of(4), "2 of 6 samples do not fill a global batch of 4"),
    ("structured/save-interval", VISION, lambda w: w.set(checkpoint__save_iter=600), "every 600 steps, and the run"),
    ("structured/warmup", VISION, lambda w: w.set(scheduler__warm_up_steps=[900]), "Fix: set it to [50]"),
    ("structured/schedule-lists", VISION, lambda w: w.set(scheduler__f_max=[1.0, 0.5]), "2 entries; want 1"),
    ("structured/schedule-end", VISION, lambda w: w.set(scheduler__cycle_lengths=[300]), "300 steps of cycles"),
    ("structured/output-inside", VISION, lambda w: w.set(job__group="../.."), "without .. and without a leading /"),
    ("structured/asset-missing", VISION, lambda w: w.set(checkpoint__load_path="x/Cosmos3-Nano"),
     "accept the licence at https://huggingface.co/nvidia/Cosmos3-Nano, and download it"),
    ("structured/asset-missing", VISION, lambda w: w.set(checkpoint__load_path=""), "no path; want the weights"),
    ("structured/asset-missing", TEXT, lambda w: w.set(model__tokenizer__vae_path="./gone.pth"), "does not exist"),
    ("structured/asset-missing", VIDEO, lambda w: w.set(model__text_encoder="google-t5/t5-11b"), "HF_TOKEN is not set"),
    ("video/frame-count", TEXT, lambda w: w.set(dataloader_train__num_frames=18), "18; want 8 N + 1: 17 or 25"),
    ("video/frame-count", VIDEO, lambda w: w.set(dataloader_train__num_frames=19), "19; want 4 N + 1: 17 or 21"),
    ("video/frame-count", VISION, lambda w: w.set(dataloader_train__num_video_frames=15), "num_video_frames"),
    ("video/frame-count", TEXT, ask(num_frames=120), "120; want 8 N + 1: 113 or 121"),
    ("video/size", VIDEO, lambda w: w.set(dataloader_train__video_size=[65, 64]), "65x64; want multiples of 8"),
    ("video/no-samples", TEXT, lambda w: w.set(dataloader_train__num_frames=121), "no sample: too-short 6"),
    ("video/no-samples", VIDEO, lambda w: shutil.rmtree(w.data / "metas"), "repair what the errors about records name"),
    ("video/no-samples", VIDEO, world_of(16), "6 samples, and a global batch of 16"),
    ("video/dropped", TEXT, short_clip, "1 windows left out (too-short)"),
    ("video/dropped", VIDEO, short_clip, "the first is of 0.mp4: 5, and 17 wanted"),
    ("video/context-parallel", VIDEO, world_of(2, **{CP: 2}), "2, and a sample has 5 latent frames"),
    ("video/context-parallel", VISION, world_of(3, **{CP: 3}), "3, and the network has 32 heads"),
    ("video/context-parallel", VIDEO, based_on("cosmos_predict2", "14B", 3), "3, and the network has 40 heads"),
    ("video/base-layout", VISION, lambda w: (w.model / "model_index.json").unlink(), ": no model_index.json; want"),
    ("video/base-layout", TEXT, lambda w: (ask()(w), (w.model / "model_index.json").unlink()), "model.path"),
    ("video/base-layout", VIDEO, lambda w: (w.model / "model.safetensors").unlink(), "lacks model.safetensors; want"),
    ("video/base-file", VIDEO, one_file, "model.pt --family cosmos_predict2 --like PIPELINE"),
    ("video/base-size", VIDEO, based_on("cosmos_predict2", "14B"), "num_layers 36; want 14B. Fix: set it to 14B"),
    ("video/base-size", VISION, based_on("cosmos3_vision", "super"), "num_hidden_layers 64; want super"),
    ("video/base-size", TEXT, based_on("cosmos_predict1", "7B", num_layers=2), "of no published size"),
    ("video/conditioning", VISION, lambda w: w.set(dataloader_train__conditioning={"one": 1.0}), "whole numbers"),
    ("video/conditioning", VISION, lambda w: w.set(dataloader_train__conditioning={"0": 0.0}), "all 0"),
    ("video/conditioning", VIDEO, lambda w: w.set(model__max_num_conditional_frames=5), "fewer than the 5 latent"),
    ("video/conditioning", VIDEO, lambda w: w.set(model__max_num_conditional_frames=0), "at least min_num"),
    ("video/caption-length", VISION, lambda w: w.set(dataloader_train__max_caption_tokens=5), "6 captions may be"),
    ("video/caption-length", VISION, counted(5), "a caption of 13 tokens, the longest of 6; want at most 5"),
    ("video/caption-length", VISION, counted(12), "set it to 128, or shorten the caption"),
    ("video/caption-length", VIDEO, long_caption, "a caption of 600 tokens, the longest of 1; want at most 512"),
    ("video/frame-rates", VIDEO, two_rates, "2 clips in a micro-batch, 2 frame rates: 8 to 30"),
    ("video/frame-rates", TEXT, two_rates, "set it to 1, and trainer.grad_accum_iter to 2: the same global batch"),
    ("video/embedding-missing", TEXT, lambda w: w.set(model__text_encoder=""), "no text encoder, and 6 clips"),
    ("video/embedding-encoder", VIDEO, other_encoder, "clips embedded by org/other, whose weights are not those of"),
    ("video/request", TEXT, ask(prompt=""), "neither prompt nor prompts_path"),
    ("video/request", TEXT, ask(input_path="a.mp4"), "this model makes video from text alone"),
    ("video/request", VIDEO, ask(input_path=""), "the picture or clip that the video goes on from"),
    ("video/clip-processes", VIDEO, ask_of(4, context_parallel_size=3), "3, and 4 processes; want a divisor of 4"),
    ("video/clip-processes", VIDEO, ask_of(2, context_parallel_size=2), "2, and 121 frames are 31 latent frames"),
    ("video/clip-processes", TEXT, ask_of(3, context_parallel_size=3), "a divisor of 16: 1, 2, 4, 8, 16"),
    ("video/clip-processes", VISION, heads_of(32, 3), "3, and the network has 32 heads"),
    ("video/idle-processes", TEXT, ask_of(4), "1, one clip and 4 processes: 3 have nothing to do"),
    ("video/prompt-upsampler", TEXT, upsampler("T5EncoderModel"), "a T5EncoderModel; want a model that writes text"),
    ("video/prompt-upsampler", VIDEO, upsampler(""), "names no architecture"),
    ("video/prompt-upsampler", VISION, upsampler("MistralForCausalLM"), "lacks tokenizer.json"),
    ("video/keys-to-select", VISION, lambda w: w.set(optimizer__keys_to_select=["moe_gem"]), "is in none of"),
    ("video/keys-to-select", VISION, lambda w: w.set(optimizer__lr_multipliers={"vae3llm": 2.0}), "mean vae2llm"),
    ("video/keys-to-select", TEXT, lambda w: w.set(optimizer__keys_to_select=["lora_"]), "and no adapters"),
    ("video/lora-targets", VISION,
     lambda w: w.set(model__lora_enabled=True, model__lora_target_modules="q_proj_moe"), "none of the network's"),
    ("video/lora-targets", TEXT,
     lambda w: w.set(model__train_architecture="lora", model__lora_target_modules="FA.to_x"), "'FA.to_x' is none"),
    ("video/lora-selected", VISION,
     lambda w: w.set(model__lora_enabled=True, optimizer__keys_to_select=["moe_gen"]), "[lora_], or an empty list"),
    ("cosmos3_vision/attention", VISION, lambda w: w.set(model__joint_attn_implementation="three_way"), "not exist"),
    ("cosmos3_vision/attention", VISION, lambda w: w.set(model__joint_attn_implementation="flex"), "want two_way"),
    ("cosmos3_vision/no-effect", VISION, lambda w: w.set(model__attn_implementation="sdpa"), "it is for task vlm"),
    ("cosmos_predict1/no-effect", TEXT, lambda w: w.set(model__ema__num=1), "1 has no effect"),
    ("cosmos_predict2/no-effect", VIDEO, lambda w: w.set(scheduler__verbosity_interval=5), "5 has no effect"),
    ("cosmos3_reasoner/no-effect", REASONER, lambda w: w.set(optimizer__eps=1e-6), "it is for task vfm"),
    ("cosmos3_reasoner/lora", REASONER, lambda w: w.set(model__lora_enabled=True), "adapters are for task vfm"),
    ("cosmos3_reasoner/context-parallel", REASONER, world_of(2, **{CP: 2}), "2; want 1"),
    ("cosmos3_reasoner/frame-sampling", REASONER,
     lambda w: w.set(dataloader_train__vision={"fps": 1.0, "nframes": 8}), "fps = 1 and nframes = 8"),
    ("cosmos3_reasoner/length", REASONER,
     lambda w: (w.set(dataloader_train__max_sequence_length=4000), long_answer(w)), "tokens; want at most 4,000"),
    ("cosmos3_reasoner/batch-exceeds-samples", REASONER, world_of(9), "8 records, and a global batch of 9"),
]  # fmt: skip


def test_every_rule_of_these_families_has_a_bad_input() -> None:
    names = {rule for rule, *_ in BAD}
    own = {name for name, rule in RULES.items() if rule.families and set(rule.families) <= set(TASKS)}
    assert own == names


@pytest.mark.parametrize(("name", "family", "breaker", "words"), BAD, ids=[f"{r}-{n}" for n, (r, *_) in enumerate(BAD)])
def test_rule_fires_on_its_bad_input(tmp_path: Path, name: str, family: str, breaker: Break, words: str) -> None:
    world = StructuredProject(tmp_path / "world", family)
    breaker(world)
    findings = world.report().findings
    mine = [finding.render() for finding in findings if finding.rule == name]
    assert mine, [finding.render() for finding in findings]
    assert any(words in line for line in mine), mine


@pytest.mark.parametrize("family", TASKS)
@pytest.mark.parametrize("action", ["train", "evaluate", "inference"])
def test_good_input_has_no_finding(tmp_path: Path, family: str, action: str) -> None:
    world = StructuredProject(tmp_path / "world", family)
    world.action = action
    assert [finding.render() for finding in world.report().findings] == []


@pytest.mark.parametrize(("family", "breaker"), [(VIDEO, two_rates), (TEXT, two_rates), (VISION, counted(5)),
                          (TEXT, lambda w: w.set(scheduler__warm_up_steps=[900])),
                          (REASONER, lambda w: w.set(checkpoint__save_iter=1000))])  # fmt: skip
def test_the_patch_of_a_finding_makes_the_check_pass(tmp_path: Path, family: str, breaker: Break) -> None:
    world = StructuredProject(tmp_path / "world", family)
    breaker(world)
    # How long a run shall be is for its owner: that rule has no patch.
    findings = [finding for finding in world.report().findings if finding.rule != "structured/repeats"]
    assert findings
    for finding in findings:
        assert finding.fix is not None and finding.fix.patch is not None
        world.set(**finding.fix.patch)
    fixed = {finding.rule for finding in findings}
    assert [finding.render() for finding in world.report().findings if finding.rule in fixed] == []


def test_captions_that_the_tokenizer_finds_short_are_no_finding(tmp_path: Path) -> None:
    world = StructuredProject(tmp_path / "world", VIDEO)
    tokenizer = json.loads((world.model / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"], tokenizer["model"] = None, {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}
    (world.model / "tokenizer.json").write_text(json.dumps(tokenizer))
    long_caption(world)
    assert [finding.render() for finding in world.report().findings] == []
