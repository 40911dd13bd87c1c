"""Optimizer, batches, precision and checkpoints: the `train` table of a training spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tao_runtime.spec.base import Section
from tao_runtime.spec.field import (
    Automl,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Text,
    key,
    table,
)

Dtype = Literal["float32", "float16", "bfloat16"]
Rates = Annotated[tuple[NonNegativeFloat, ...], Field(min_length=2, max_length=4, strict=False)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Checkpoint(Section):
    """When the run is saved, and how much is kept."""

    enable_checkpoint: bool = key(True, "Save checkpoints at all.")
    save_freq: NonNegativeInt = key(
        0, "Steps between checkpoints. 0: as save_freq_in_epoch says.", unit="steps", since="cosmos-rl"
    )
    save_freq_in_epoch: PositiveInt = key(1, "Epochs between checkpoints.", unit="epochs")
    save_mode: Literal["async", "sync"] = key(
        "sync", "sync waits until a checkpoint is on disk; async writes it while training goes on."
    )
    max_keep: Literal[-1] | PositiveInt = key(
        8, "Checkpoints that are kept, newest first. -1: all.", unit="checkpoints"
    )
    export_safetensors: bool = key(True, "At the end, also write the weights in the format that transformers loads.")


class PolicyDataset(Section):
    """Name and auto-split of the training set."""

    name: str = key("its", "Label of the data set. Has no effect here: caches are keyed by content, not by name.")
    test_size: NonNegativeInt | Share = key(
        1,
        "Records held out for validation when custom.val_dataset is not given: a count, or a share between 0 and 1. "
        "0: none.",
        unit="records or share",
        automl=Automl(minimum=1),
    )


class TrainPolicy(Section):
    """How samples become batches."""

    type: Literal["sft"] = key("sft", "Kind of training: supervised fine-tuning. Keep it in the file.")
    mini_batch: PositiveInt = key(
        4,
        "Samples of one forward and backward pass. train.train_batch_per_replica must be a multiple. "
        "Lower it when memory runs out: the result stays the same.",
        unit="samples",
    )
    load_balanced_max_tokens_for_batch: PositiveInt | None = key(
        None,
        "Tokens of one forward and backward pass: as many samples as fit, packed end to end, instead of mini_batch. "
        "Null: mini_batch decides. The result stays the same.",
        unit="tokens",
        since="cosmos-rl",
    )
    enable_dataset_cache: bool = key(True, "Keep decoded frames in memory, up to train.frame_cache_bytes.")
    dataloader_num_workers: NonNegativeInt = key(
        8,
        "Threads that read and decode ahead, per training process. 0: decode in the training loop.",
        unit="threads",
    )
    dataloader_prefetch_factor: PositiveInt = key(8, "Samples that each of these threads keeps ready.", unit="samples")
    dataloader_shuffle: bool = key(True, "Visit the records in a new order each epoch.", since="cosmos-rl")
    dataloader_seed: NonNegativeInt = key(0, "Seed of that order, and of the auto-split.", since="cosmos-rl")
    dataloader_drop_last: bool = key(
        True,
        "Leave the records that do not fill a global batch out of the epoch; other ones each time.",
        since="cosmos-rl",
    )
    conversation_column_name: Text = key("conversations", "Key of a record that holds its turns.")
    dataset: PolicyDataset = table(PolicyDataset(), "Name and auto-split of the training set.")


class Fp8(Section):
    """Training in 8-bit floats."""

    enable_fp8: bool = key(False, "Compute linear layers in 8-bit floats.")
    fp8_recipe: Literal["dynamic_scaling", "delayed_scaling"] = key("dynamic_scaling", "How the scales are found.")
    quant_recipe: Literal["rowwise", "tensorwise"] = key("rowwise", "What one scale covers.")


class BadSteps(Section):
    """Steps whose gradient is not finite, or far larger than usual. None of them changes a weight."""

    in_a_row: PositiveInt = key(3, "So many in a row end the training, or roll it back.", unit="steps", since="tao-run")
    then: Literal["stop", "rollback"] = key(
        "stop",
        "stop ends the run; rollback goes on with the next records from the weights of the newest commit.",
        since="tao-run",
    )
    spike_factor: Annotated[float, Field(gt=1)] | None = key(
        None,
        "A gradient norm above so many times the median of the last 32 good ones is bad, too. Null: finite ones never.",
        since="tao-run",
    )
    max_rollbacks: PositiveInt = key(3, "Rollbacks after which the run ends all the same.", since="tao-run")


class Train(Section):
    """The training loop."""

    resume: bool | Text = key(
        True,
        "true: if the output directory holds a commit of this very run, go on from it. false: refuse such a directory. "
        "A path: start from the model there, a snapshot or an export, instead of policy.model_name_or_path.",
    )
    epoch: PositiveInt = key(
        10,
        "Times that every record is visited.",
        unit="epochs",
        automl=Automl(enabled=True, minimum=1, maximum=20, parent=True),
        popular=True,
    )
    max_num_steps: PositiveInt | None = key(
        None, "Stop after so many optimizer steps even if epochs are left.", unit="steps", since="cosmos-rl"
    )
    compile: bool = key(False, "Compile the transformer blocks: slower start, often faster steps.", popular=True)
    train_batch_per_replica: PositiveInt = key(
        32,
        "Samples that one data-parallel process contributes to an optimizer step. A multiple of "
        "train.train_policy.mini_batch, and not more than the samples that a process gets in an epoch. The global "
        "batch is this x dp_shard_size x dp_replicate_size.",
        unit="samples",
        automl=Automl(minimum=1, maximum=32),
        popular=True,
    )
    seed: NonNegativeInt = key(0, "Seed of everything random but the order of the records.", since="cosmos-rl")
    deterministic: bool = key(False, "Use only kernels that give the same bits each time; slower.", since="cosmos-rl")
    output_dir: str = key("", "Directory of the run; a relative one lies in results_dir. Empty: results_dir itself.")
    optm_lr: NonNegativeFloat | Rates = key(
        1e-6,
        "Learning rate after warm-up. A list sets parts apart: [language model, vision tower, projector, output head]; "
        "what the list leaves out follows its first entry.",
        automl=Automl(enabled=True, minimum=1e-6, maximum=1e-3),
    )
    optm_name: Literal["AdamW", "Adam"] = key("AdamW", "Optimizer. Adam mixes weight decay into the gradient.")
    optm_impl: Literal["fused", "foreach", "for-loop"] = key(
        "foreach", "How the optimizer's arithmetic is run; the result is the same up to rounding."
    )
    optm_betas: Annotated[tuple[Beta, Beta], Field(strict=False)] = key(
        (0.9, 0.999),
        "Decay of the running mean of the gradient, and of its square.",
        automl=Automl(enabled=False, minimum=(0.8, 0.9), maximum=(0.95, 0.999)),
    )
    epsilon: PositiveFloat = key(1e-8, "Term that keeps the optimizer's division finite.")
    optm_weight_decay: NonNegativeFloat = key(0.01, "Weight decay.", automl=Automl(minimum=0.0, maximum=0.1))
    optm_grad_norm_clip: NonNegativeFloat = key(1.0, "Largest global L2 norm of the gradient. 0: not clipped.")
    optm_warmup_epochs: NonNegativeFloat = key(
        0,
        "Epochs over which the learning rate rises from zero.",
        unit="epochs",
        automl=Automl(minimum=0, maximum=5, math_condition="/ 2", depends_on="train.epoch"),
    )
    optm_warmup_steps: NonNegativeInt = key(
        0,
        "Steps over which the learning rate rises from zero. 0: as optm_warmup_epochs says.",
        unit="steps",
        since="cosmos-rl",
    )
    optm_decay_type: Literal["linear", "sqrt", "cosine", "none"] = key(
        "linear",
        "Shape of the fall of the learning rate after warm-up.",
        automl=Automl(enabled=True, option_weights={"linear": 0.1, "sqrt": 0.1, "cosine": 0.4, "none": 0.4}),
    )
    optm_decay_ratio: Fraction | None = key(
        None,
        "Share of all steps, at the end, over which the learning rate falls. Null: all steps after warm-up.",
        since="cosmos-rl",
    )
    optm_min_lr_factor: Fraction = key(0.0, "Where the fall ends, as a factor of the learning rate.")
    master_dtype: Dtype = key("float32", "Type in which weights and optimizer state are kept.")
    param_dtype: Dtype = key("bfloat16", "Type of the forward and backward passes.")
    fsdp_reduce_dtype: Dtype = key("float32", "Type in which gradients are summed over processes.")
    fsdp_offload: bool = key(False, "Keep weights, gradients and optimizer state in host memory.")
    fsdp_reshard_after_forward: Literal["default", "always", "never", "true", "false"] | bool = key(
        "default",
        "Give gathered weights back after the forward pass: always (or true) saves memory, never (or false) saves "
        "traffic, default does so for all blocks but the last.",
    )
    async_tp_enabled: bool = key(False, "Overlap tensor-parallel traffic with arithmetic.")
    sync_weight_interval: PositiveInt = key(
        1, "Steps between weight copies to rollout replicas. Has no effect here: there are none.", unit="steps"
    )
    bad_sample_budget: NonNegativeInt = key(
        0,
        "Samples that may fail to decode before the run stops. Each one is counted and named.",
        unit="samples",
        since="tao-run",
    )
    load_timeout_s: PositiveInt = key(
        120,
        "A sample that is not loaded so long after it was needed is given up: named, and counted as a bad one. "
        "Needs a thread that loads ahead.",
        unit="seconds",
        since="tao-run",
    )
    frame_cache_bytes: NonNegativeInt = key(
        1 << 30, "Decoded frames kept in memory, per process that decodes.", unit="bytes", since="tao-run"
    )
    bad_steps: BadSteps = table(
        BadSteps(), "Steps whose gradient is not finite, or far larger than usual. None of them changes a weight."
    )
    ckpt: Checkpoint = table(Checkpoint(), "When the run is saved, and how much is kept.")
    train_policy: TrainPolicy = table(TrainPolicy(), "How samples become batches.")
    fp8: Fp8 = table(Fp8(), "Training in 8-bit floats.")
