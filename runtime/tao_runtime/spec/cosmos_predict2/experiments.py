"""The shipped bases of Predict2 by upstream's experiment names: `cosmos_nemo_assets*.py`, and its guide's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Experiment = Literal[
    "",
    "predict2_video2world_training_2b_cosmos_nemo_assets",
    "predict2_video2world_training_14b_cosmos_nemo_assets",
    "predict2_video2world_lora_training_2b_cosmos_nemo_assets",
    "predict2_video2world_lora_training_14b_cosmos_nemo_assets",
    "predict2_video2world_training_2b_custom_data",
]
LR: Final = 2**-14.5
FOLDER: Final = "checkpoints/nvidia/Cosmos-Predict2-{size}-Video2World"
TOKENIZER: Final = FOLDER.format(size="2B") + "/tokenizer/tokenizer.pth"


def _base(size: str, *, lora: int | None = None) -> dict[str, object]:
    small = size == "2B"
    values: dict[str, object] = {
        "job.project": "posttraining",
        "job.group": "video2world_lora" if lora else "video2world",
        "job.name": f"{size.lower()}_cosmos_nemo_assets" + ("_lora" if lora else ""),
        "model.size": size,
        "model.tokenizer.vae_path": FOLDER.format(size=size) + "/tokenizer/tokenizer.pth",
        "model.parallelism.context_parallel_shard_degree": 2 if small else 8,
        "model.parallelism.fsdp_group_size": 8 if small else 32,
        "optimizer.weight_decay": 0.1 if small else 0.2,
        "scheduler.warm_up_steps": [0],
        "scheduler.cycle_lengths": [1000],
        "scheduler.f_max": [0.6 if small else 0.25],
        "scheduler.f_min": [0.0],
        "trainer.max_iter": 1000,
        "checkpoint.load_path": FOLDER.format(size=size) + "/model-720p-16fps.pt",
        "checkpoint.save_iter": 200 if lora else 500,
        "dataloader_train.dataset_dir": "datasets/cosmos_nemo_assets",
        "dataloader_train.num_frames": 93,
        "dataloader_train.video_size": [704, 1280],
    }
    if lora:
        values |= {"model.train_architecture": "lora", "model.lora_rank": lora, "model.lora_alpha": lora}
    return values


EXPERIMENTS: Final[Mapping[str, Mapping[str, object]]] = {
    "predict2_video2world_training_2b_cosmos_nemo_assets": _base("2B"),
    "predict2_video2world_training_14b_cosmos_nemo_assets": _base("14B"),
    "predict2_video2world_lora_training_2b_cosmos_nemo_assets": _base("2B", lora=16),
    "predict2_video2world_lora_training_14b_cosmos_nemo_assets": _base("14B", lora=32),
    "predict2_video2world_training_2b_custom_data": {
        **_base("2B"),
        "job.name": "2b_custom_data",
        "scheduler.warm_up_steps": [2000],
        "scheduler.cycle_lengths": [400_000],
        "scheduler.f_min": [0.3],
        "dataloader_train.dataset_dir": "datasets/benchmark_train/custom_dataset",
    },
}
