"""The shipped bases of Predict1 by upstream's experiment names: `config/text2world/experiment.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Experiment = Literal[
    "",
    "text2world_7b_example_cosmos_nemo_assets",
    "text2world_7b_example_cosmos_nemo_assets_4gpu_80gb",
    "text2world_7b_example_cosmos_nemo_assets_8gpu_40gb",
    "text2world_7b_example_cosmos_nemo_assets_4gpu_40gb",
    "text2world_7b_lora_example_cosmos_nemo_assets",
    "text2world_14b_example_cosmos_nemo_assets",
]
TOKENIZER: Final = "checkpoints/Cosmos-Tokenize1-CV8x8x8-720p"
LR_7B: Final = 2**-14.3
CYCLE: Final = 10**13  # constant after warm-up
MESH: Final = "model.parallelism"


def _base(name: str, **values: object) -> dict[str, object]:
    """Return a 7B base; `values` are keys with __ for dots."""
    size = "14B" if "14b" in name else "7B"
    return {
        "job.project": "posttraining",
        "job.group": "diffusion_text2world",
        "job.name": name,
        "model.size": size,
        "model.tokenizer.vae_path": TOKENIZER,
        "model.text_dropout": 0.0,
        f"{MESH}.fsdp_group_size": 32,
        "checkpoint.load_path": f"checkpoints/Cosmos-Predict1-{size}-Text2World/model.pt",
        "checkpoint.save_iter": 200,
        "trainer.max_iter": 2000,
        "trainer.logging_iter": 200,
        "dataloader_train.dataset_dir": "datasets/cosmos_nemo_assets",
        "dataloader_train.num_frames": 121,
        "dataloader_train.video_size": [720, 1280],
        **{key.replace("__", "."): value for key, value in values.items()},
    }


_SMALL: Final = [384, 384]
_FULL: Final = "text2world_7b_example_cosmos_nemo_assets"
EXPERIMENTS: Final[Mapping[str, Mapping[str, object]]] = {
    _FULL: _base(_FULL),
    f"{_FULL}_4gpu_80gb": _base(
        f"{_FULL}_4gpu_80gb",
        model__parallelism__context_parallel_shard_degree=4,
        model__activation_checkpointing__mode="none",
        dataloader_train__video_size=_SMALL,
    ),
    f"{_FULL}_8gpu_40gb": _base(
        f"{_FULL}_8gpu_40gb",
        model__ema__enabled=False,
        dataloader_train__num_frames=33,
        dataloader_train__video_size=_SMALL,
    ),
    f"{_FULL}_4gpu_40gb": _base(
        f"{_FULL}_4gpu_40gb",
        model__ema__enabled=False,
        dataloader_train__num_frames=17,
        dataloader_train__video_size=_SMALL,
    ),
    "text2world_7b_lora_example_cosmos_nemo_assets": {
        **_base(
            "text2world_7b_lora_example_cosmos_nemo_assets",
            model__train_architecture="lora",
            model__text_dropout=0.2,
            model__parallelism__context_parallel_shard_degree=4,
            trainer__distributed_parallelism="ddp",
            trainer__max_iter=5000,
            optimizer__lr=1e-4,
            scheduler__warm_up_steps=[0],
            checkpoint__save_iter=1000,
            dataloader_train__video_size=[480, 848],
        ),
        f"{MESH}.fsdp_group_size": None,
    },
    "text2world_14b_example_cosmos_nemo_assets": _base(
        "text2world_14b_example_cosmos_nemo_assets",
        model__loss_scale=10.0,
        model__adjust_video_noise=True,
        model__activation_checkpointing__mode="none",
        model__ema__num=1,
        model__parallelism__context_parallel_shard_degree=16,
        model__parallelism__fsdp_group_size=64,
        optimizer__lr=2**-16,
        optimizer__weight_decay=0.2,
        optimizer__eps=1e-11,
        scheduler__cycle_lengths=[90_000],
        scheduler__f_min=[0.1],
    ),
}
