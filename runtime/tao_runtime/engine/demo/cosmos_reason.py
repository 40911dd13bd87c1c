"""The demo's material for the Qwen3-VL family: a tiny random snapshot with every file a real one has, clips, specs.

The sizes are those that were found to learn (433k parameters; initialiser 0.1, rate <= 1e-3): with the library's
default initialiser of 0.02 the same network stays at chance.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import yaml

from tao_runtime.data.paths import make_folder
from tao_runtime.engine.commits import write_atomically
from tao_runtime.engine.demo.clips import DIRECTIONS, QUESTION, ClipSet, make_set

PATCH, MERGE, FRAMES, SIDE = 16, 2, 8, 64
SPECIALS = tuple(
    f"<|{name}|>"
    for name in (
        *("endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start", "box_end"),
        *("quad_start", "quad_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad"),
    )
)
CHAT_TEMPLATE = """{%- for message in messages -%}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content -%}
{%- if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>
{%- elif part.type == 'text' %}{{ part.text }}{% endif %}
{%- endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

MISSED = "down"  # the slice that round 1 never sees
SETS = (
    ClipSet("train", [name for name in DIRECTIONS if name != MISSED], 150, seed=1),
    ClipSet("pool", DIRECTIONS, 150, seed=2),
    ClipSet("heldout", DIRECTIONS, 50, seed=3),
    ClipSet("val", [name for name in DIRECTIONS if name != MISSED], 16, seed=4),
)


def prepare(out: Path, *, share: float = 1.0) -> None:
    """Write model/, train/, pool/, heldout/, val/, train.yaml and evaluate.yaml into `out`, unless they are there.

    `share` of the clips, at least two of each direction, is enough to look at the path without learning much.
    """
    make_folder(out)
    make_snapshot(out / "model")
    for full in SETS:
        wanted = replace(full, per_direction=max(2, round(full.per_direction * share)))
        count = make_set(out, wanted)
        print(f"{out / wanted.name}: {count} clips of {', '.join(wanted.directions)}")
    write_atomically(out / "train.yaml", yaml.safe_dump(train_spec(), sort_keys=False))
    write_atomically(out / "evaluate.yaml", yaml.safe_dump(evaluate_spec(), sort_keys=False))


def run(out: Path) -> None:
    """Run both rounds."""
    from tao_runtime.engine.demo.rounds import run_rounds  # noqa: PLC0415 - after the material, which needs no torch

    run_rounds(out)


def train_spec() -> dict[str, object]:
    """Return the spec of round 1; paths are relative to the demo's directory."""
    return {
        "results_dir": "round-1/train",
        "custom": {
            "train_dataset": {"annotation_path": "train"},
            "val_dataset": {"annotation_path": "val"},
            "vision": {"nframes": FRAMES},
        },
        "policy": {
            "model_name_or_path": "model",
            "model_max_length": 40960,
            "model_gradient_checkpointing": False,
            "parallelism": {"dp_shard_size": 2},
        },
        "train": {
            "epoch": 12,
            "resume": True,
            "train_batch_per_replica": 16,
            "optm_lr": 0.001,
            "optm_betas": [0.9, 0.98],
            "optm_decay_type": "cosine",
            "optm_min_lr_factor": 0.05,
            "optm_warmup_steps": 20,
            "param_dtype": "float32",
            "train_policy": {"type": "sft", "mini_batch": 16, "dataloader_num_workers": 1},
            "ckpt": {"save_freq_in_epoch": 4, "max_keep": 2, "save_mode": "async"},
        },
        "validation": {"freq_in_epoch": 4, "batch_size": 16, "dataloader_num_workers": 1},
        "logging": {"log_interval": 5},
    }


def evaluate_spec() -> dict[str, object]:
    """Return the spec that judges a model on the held-out clips."""
    return {
        "results_dir": "round-1/evaluate",
        "dataset": {"annotation_path": "heldout", "system_prompt": ""},
        "model": {"model_name": "round-1/train/export/model", "dtype": "float32", "max_length": 40960},
        "vision": {"nframes": FRAMES},
        "generation": {"max_tokens": 8},
        "evaluation": {"batch_size": 50},
        "num_gpus": 2,
    }


def make_snapshot(directory: Path) -> None:
    """Write a snapshot with random weights (seed 0), unless there is one."""
    if (directory / "model.safetensors").is_file():
        return
    import torch  # noqa: PLC0415 - the rest of this module needs no torch
    from transformers import AutoConfig, AutoModelForImageTextToText  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()

    temporary = directory.with_name(f".{directory.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    vocabulary = _write_tokenizer(temporary)
    (temporary / "config.json").write_text(json.dumps(_config(vocabulary), indent=1))
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(temporary), dtype=torch.float32)
    model.save_pretrained(temporary)
    _write_processor(temporary, vocabulary)
    temporary.rename(directory)
    print(f"{directory}: {sum(value.numel() for value in model.parameters()):,} random parameters")


def _config(ids: dict[str, int]) -> dict[str, object]:
    text = {
        "model_type": "qwen3_vl_text",
        "vocab_size": -(-len(ids) // 64) * 64,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "initializer_range": 0.1,
        "pad_token_id": ids["<|endoftext|>"],
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [4, 2, 2],
            "mrope_interleaved": True,
        },
    }
    vision = {
        "model_type": "qwen3_vl_vision",
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "out_hidden_size": 64,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
        "initializer_range": 0.1,
    }
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "text_config": text,
        "vision_config": vision,
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": True,
    }


def _write_tokenizer(directory: Path) -> dict[str, int]:
    """Train a small byte-level BPE with the real special tokens; returns its vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    corpus = (
        [QUESTION] * 50
        + [*DIRECTIONS] * 50
        + [f"system user assistant <{tenth / 10:.1f} seconds>" for tenth in range(200)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=512 - len(SPECIALS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return tokenizer.get_vocab()


def _write_processor(directory: Path, ids: dict[str, int]) -> None:
    shared = {
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "merge_size": MERGE,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    least = (PATCH * MERGE) ** 2
    image = {
        "image_processor_type": "Qwen2VLImageProcessor",
        **shared,
        "size": {"shortest_edge": least, "longest_edge": SIDE * SIDE},
    }
    video = {
        "video_processor_type": "Qwen3VLVideoProcessor",
        **shared,
        "size": {"shortest_edge": least, "longest_edge": SIDE * SIDE * 2 * FRAMES},
        "min_frames": 2,
        "cap_pixels_per_frame": False,
    }
    files = {
        "preprocessor_config.json": {**image, "processor_class": "Qwen3VLProcessor"},
        "video_preprocessor_config.json": {**video, "processor_class": "Qwen3VLProcessor"},
        "generation_config.json": {
            "do_sample": False,
            "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
            "pad_token_id": ids["<|endoftext|>"],
        },
    }
    for name, value in files.items():
        (directory / name).write_text(json.dumps(value, indent=1))
