"""Optimizer, schedule, trainer, checkpoints and the loader's numbers: the tables beside `job` and `model`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tao_runtime.spec.base import Section
from tao_runtime.spec.field import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Text, Texts, table
from tao_runtime.spec.structured.field import OURS, Steps, key

Beta = Annotated[float, Field(ge=0, lt=1)]
Ratios = Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1, strict=False)]
WarmUps = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1, strict=False)]
Resolutions = Annotated[tuple[Text | PositiveInt, ...], Field(strict=False)]


class Optimizer(Section):
    """AdamW, and which parameters it trains."""

    betas: Annotated[tuple[Beta, Beta], Field(strict=False)] = key(
        (0.9, 0.99), "Decay of the averages of gradient and squared gradient."
    )
    eps: PositiveFloat = key(1e-8, "Number that keeps the division by the averaged gradient finite.")
    fused: bool = key(True, "Use one kernel for all parameters.")
    keys_to_select: Texts = key(
        (), "Parts of parameter names, in upstream's names; only parameters with one of them are trained. Empty: all."
    )
    lr: PositiveFloat = key(2e-4, "Learning rate, before schedule and multipliers.")
    lr_multipliers: dict[str, NonNegativeFloat] = key(
        {}, "Part of a parameter name to the factor on its learning rate; the first that matches counts."
    )
    weight_decay: NonNegativeFloat = key(0.0, "Decoupled weight decay. 0: none.")


class Scheduler(Section):
    """Learning rate over the steps: warm-up, then decay, in one or more cycles; each list has an entry per cycle."""

    name: Literal["constant", "lambdalinear", "lambdacosine"] = key(
        "lambdacosine", "Shape of the decay after warm-up.", since=OURS
    )
    cycle_lengths: Steps = key((20000,), "Length of each cycle.", unit="steps")
    f_max: Ratios = key((1.0,), "Factor on the learning rate where warm-up ends.")
    f_min: Ratios = key((0.0,), "Factor at the end of each cycle.")
    f_start: Ratios = key((1e-6,), "Factor at the first step of each cycle.")
    verbosity_interval: NonNegativeInt = key(0, "Steps between printed rates. Has no effect: metrics hold every rate.")
    warm_up_steps: WarmUps = key((100,), "Steps over which the rate rises.", unit="steps")


class CompileTokenizer(Section):
    """Compilation of the video tokenizer."""

    enabled: bool = key(True, "Compile it. Has no effect here: the tokenizer runs as it is.")
    compile_after_iterations: NonNegativeInt = key(3, "Steps before that.", unit="steps")
    warmup_resolutions: Resolutions | None = key(None, "Resolutions to compile for beforehand.")


class GradClip(Section):
    """Limits on the gradient."""

    clip_norm: NonNegativeFloat = key(1.0, "Largest global L2 norm of the gradient; 0: not clipped.")
    force_finite: bool = key(
        True,
        "true: gradients that are not finite become zero, and are counted; false: such a step is skipped, and after "
        "several of them the run stops.",
    )


class Callbacks(Section):
    """What happens around a step."""

    compile_tokenizer: CompileTokenizer = table(CompileTokenizer(), "Compilation of the video tokenizer.")
    grad_clip: GradClip = table(GradClip(), "Limits on the gradient.")


class Trainer(Section):
    """How long the run is, and what a step is made of."""

    distributed_parallelism: Literal["fsdp", "ddp"] = key(
        "fsdp", "How weights lie on the devices: fsdp shards them; ddp keeps a copy on each process."
    )
    grad_accum_iter: PositiveInt = key(1, "Micro-batches of one optimizer step.", unit="micro-batches")
    logging_iter: PositiveInt = key(50, "Steps between log entries.", unit="steps")
    max_iter: PositiveInt = key(500, "Optimizer steps of the run.", unit="steps")
    callbacks: Callbacks = table(Callbacks(), "What happens around a step.")


class Checkpoint(Section):
    """Where the run starts from, and when it is saved."""

    keys_to_skip_loading: Texts = key(
        (), "Parts of tensor names, in upstream's names, that are not loaded from load_path."
    )
    load_path: str = key(
        "",
        "Weights to start from: a directory or file. A checkpoint of this very spec is resumed; anything else is a "
        "warm start.",
    )
    save_iter: PositiveInt = key(100, "Steps between checkpoints.", unit="steps")
    max_keep: Literal[-1] | PositiveInt = key(
        -1, "Checkpoints that are kept, newest first. -1: all, as upstream does.", unit="checkpoints", since=OURS
    )


class DataloaderTrain(Section):
    """What a micro-batch holds, and how samples are made."""

    max_samples_per_batch: PositiveInt | None = key(None, "Most samples of a micro-batch. Null: no limit.")
    max_sequence_length: PositiveInt | None = key(
        None, "Most tokens of a micro-batch. Null: no limit of its own.", unit="tokens"
    )
    seed: NonNegativeInt = key(42, "Seed of order, noise and every other draw.")
    max_caption_tokens: PositiveInt | None = key(
        None, "Longest caption; a longer one is refused. Null: no limit.", unit="tokens"
    )
    num_workers: NonNegativeInt = key(4, "Threads that read and decode ahead, per process.", since=OURS)
