"""The training spec of Predict1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tao_runtime.spec.base import DatasetRef, ModelRef
from tao_runtime.spec.cosmos_predict1.experiments import CYCLE, EXPERIMENTS, LR_7B, TOKENIZER, Experiment
from tao_runtime.spec.cosmos_predict1.hub import HUB
from tao_runtime.spec.field import REQUIRED, PositiveFloat, PositiveInt, Text, table
from tao_runtime.spec.hub_asset import HubAsset
from tao_runtime.spec.structured import loop
from tao_runtime.spec.structured.field import Steps, key
from tao_runtime.spec.structured.job import EXPERIMENT_DOC, TASK_DOC, Job, Task
from tao_runtime.spec.structured.model import Ema, Tokenizer
from tao_runtime.spec.structured.spec import WORLD_ALIASES, StructuredSpec
from tao_runtime.spec.structured.world import UPSTREAM, FolderKeys, WorldModel, again

TARGETS = "FA.to_q,FA.to_v,CA.to_q,CA.to_v"


class WorldJob(Job):
    """Name and place of a run."""

    task: Task = key("text2world", TASK_DOC)
    experiment: Experiment = key("", EXPERIMENT_DOC)
    output_root: Text = again(Job, "output_root", "checkpoints")


class TrackedEma(Ema):
    """A second, averaged copy of the trained weights. It is what inference uses."""

    num: PositiveInt = key(
        3, "Averages that upstream keeps, at halved rates. Has no effect: the first one is kept.", since=UPSTREAM
    )


class AutoencoderKeys(Tokenizer):
    """The video tokenizer."""

    vae_path: Text = again(Tokenizer, "vae_path", TOKENIZER)


class TextModel(WorldModel):
    """The network: what of it is trained, in which precision, over which devices."""

    size: Literal["7B", "14B"] = key("7B", "Size of the network.", since=UPSTREAM)
    lora_rank: PositiveInt = again(WorldModel, "lora_rank", 8)
    lora_alpha: PositiveFloat = again(WorldModel, "lora_alpha", 8)  # upstream's scale of 1
    lora_target_modules: Text = again(WorldModel, "lora_target_modules", TARGETS)
    ema: TrackedEma = table(TrackedEma(), "A second, averaged copy of the trained weights. It is what inference uses.")
    tokenizer: AutoencoderKeys = table(AutoencoderKeys(), "The video tokenizer.")


class TextOptimizer(loop.Optimizer):
    """AdamW, and which parameters it trains."""

    eps: PositiveFloat = again(loop.Optimizer, "eps", 1e-10)
    lr: PositiveFloat = again(loop.Optimizer, "lr", LR_7B)
    weight_decay: Annotated[float, Field(ge=0)] = again(loop.Optimizer, "weight_decay", 0.1)


class TextScheduler(loop.Scheduler):
    """Learning rate over the steps: warm-up, then decay, in one or more cycles; each list has an entry per cycle."""

    name: Literal["constant", "lambdalinear", "lambdacosine"] = again(loop.Scheduler, "name", "lambdalinear")
    cycle_lengths: Steps = again(loop.Scheduler, "cycle_lengths", (CYCLE,))
    f_min: loop.Ratios = again(loop.Scheduler, "f_min", (1.0,))
    warm_up_steps: loop.WarmUps = again(loop.Scheduler, "warm_up_steps", (2500,))


class StartKeys(FolderKeys):
    """A folder with videos/, metas/ and, where embedded before, t5_xxl/; and how its clips become samples."""

    start_frame_interval: PositiveInt = key(
        1, "Frames between the possible starts of a sample; each of them is one.", unit="frames", since=UPSTREAM
    )


class TextSpec(StructuredSpec):
    """What the actions of the family share."""

    family: ClassVar[str] = "cosmos_predict1"
    task: ClassVar[str] = "text2world"
    makes_video: ClassVar[bool] = True
    temporal: ClassVar[int] = 8
    ring_attention: ClassVar[bool] = True
    spatial: ClassVar[int] = 8
    hub: ClassVar[tuple[HubAsset, ...]] = HUB
    experiments: ClassVar[Mapping[str, Mapping[str, object]]] = EXPERIMENTS
    root_variable: ClassVar[str] = "OUTPUT_ROOT"
    root_default: ClassVar[str] = "checkpoints"


class TrainSpec(TextSpec):
    """Post-training of a text-to-video model."""

    action: ClassVar[str] = "train"
    assumed: ClassVar[bool] = True
    aliases: ClassVar[Mapping[str, str]] = WORLD_ALIASES
    critical: ClassVar[Mapping[str, tuple[str, str]]] = {
        "job.experiment": ("a name of the table of recipes", "It brings size, resolution, frames and mesh."),
        "dataloader_train.num_frames": ("8 N + 1", "The video tokenizer takes no other number."),
        "model.parallelism.context_parallel_shard_degree": (
            "a divisor of the latent frames and of the heads",
            "Latent frames are dealt to the processes that share a sample.",
        ),
        "scheduler.warm_up_steps": ("fewer than trainer.max_iter", "Upstream's 2,500 are longer than its 2,000 steps."),
    }

    job: WorldJob = table(WorldJob(), "Name and place of a run.")
    model: TextModel = table(TextModel(), "The network: what of it is trained, in which precision, over which devices.")
    optimizer: TextOptimizer = table(TextOptimizer(), "AdamW, and which parameters it trains.")
    scheduler: TextScheduler = table(
        TextScheduler(),
        "Learning rate over the steps: warm-up, then decay, in one or more cycles; each list has an entry per cycle.",
    )
    trainer: loop.Trainer = table(loop.Trainer(), "How long the run is, and what a step is made of.")
    checkpoint: loop.Checkpoint = table(loop.Checkpoint(), "Where the run starts from, and when it is saved.")
    dataloader_train: StartKeys = table(
        REQUIRED, "A folder with videos/, metas/ and, where embedded before, t5_xxl/; and how its clips become samples."
    )

    def datasets(self) -> tuple[DatasetRef, ...]:
        return (self.dataloader_train.ref("train", "dataloader_train"),)

    def models(self) -> tuple[ModelRef, ...]:
        tokenizer = ModelRef("tokenizer", self.model.tokenizer.vae_path, "model.tokenizer.vae_path")
        encoder = self.model.text_encoder
        text = (ModelRef("text_encoder", encoder, "model.text_encoder"),) if encoder else ()
        return (ModelRef("model", self.checkpoint.load_path, "checkpoint.load_path"), tokenizer, *text)
