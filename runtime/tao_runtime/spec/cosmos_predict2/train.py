"""The training spec of Predict2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tao_runtime.spec.base import DatasetRef, ModelRef
from tao_runtime.spec.cosmos_predict2.experiments import EXPERIMENTS, LR, TOKENIZER, Experiment
from tao_runtime.spec.cosmos_predict2.hub import HUB
from tao_runtime.spec.field import REQUIRED, Fraction, PositiveFloat, Text, table
from tao_runtime.spec.hub_asset import HubAsset
from tao_runtime.spec.structured import loop
from tao_runtime.spec.structured.field import Steps, key
from tao_runtime.spec.structured.job import EXPERIMENT_DOC, TASK_DOC, Job, Task
from tao_runtime.spec.structured.model import Tokenizer
from tao_runtime.spec.structured.spec import WORLD_ALIASES, StructuredSpec
from tao_runtime.spec.structured.world import UPSTREAM, FolderKeys, WorldModel, again

TARGETS = "q_proj,k_proj,v_proj,output_proj,mlp.layer1,mlp.layer2"

# The plan has a share for each number of given frames; a clip has a hundred latent frames, not thousands.
LatentFrames = Annotated[int, Field(ge=0, le=4096)]


class WorldJob(Job):
    """Name and place of a run."""

    task: Task = key("video2world", TASK_DOC)
    experiment: Experiment = key("", EXPERIMENT_DOC)
    output_root: Text = again(Job, "output_root", "checkpoints")


class AutoencoderKeys(Tokenizer):
    """The video tokenizer."""

    vae_path: Text = again(Tokenizer, "vae_path", TOKENIZER)


class VideoModel(WorldModel):
    """The network: what of it is trained, in which precision, over which devices."""

    size: Literal["2B", "14B"] = key("2B", "Size of the network.", since=UPSTREAM)
    lora_target_modules: Text = again(WorldModel, "lora_target_modules", TARGETS)
    loss_scale: PositiveFloat = again(WorldModel, "loss_scale", 10.0)
    adjust_video_noise: bool = again(WorldModel, "adjust_video_noise", True)
    high_sigma_ratio: Fraction = key(
        0.05, "Share of samples whose noise level is drawn from 200 to 100,000 instead.", since=UPSTREAM
    )
    min_num_conditional_frames: LatentFrames = key(
        1, "Fewest leading latent frames that are given.", unit="latent frames", since=UPSTREAM
    )
    max_num_conditional_frames: LatentFrames = key(
        2, "Most leading latent frames that are given; each number as often.", unit="latent frames", since=UPSTREAM
    )
    sigma_conditional: PositiveFloat = key(
        1e-4, "Noise level that the network is told of given frames.", since=UPSTREAM
    )
    tokenizer: AutoencoderKeys = table(AutoencoderKeys(), "The video tokenizer.")


class VideoOptimizer(loop.Optimizer):
    """AdamW, and which parameters it trains."""

    lr: PositiveFloat = again(loop.Optimizer, "lr", LR)
    weight_decay: Annotated[float, Field(ge=0)] = again(loop.Optimizer, "weight_decay", 0.1)


class VideoScheduler(loop.Scheduler):
    """Learning rate over the steps: warm-up, then decay, in one or more cycles; each list has an entry per cycle."""

    name: Literal["constant", "lambdalinear", "lambdacosine"] = again(loop.Scheduler, "name", "lambdalinear")
    cycle_lengths: Steps = again(loop.Scheduler, "cycle_lengths", (1000,))
    f_max: loop.Ratios = again(loop.Scheduler, "f_max", (0.6,))
    warm_up_steps: loop.WarmUps = again(loop.Scheduler, "warm_up_steps", (0,))


class VideoKeys(FolderKeys):
    """A folder with videos/, metas/ and, where embedded before, t5_xxl/; and how its clips become samples."""


class VideoSpec(StructuredSpec):
    """What the actions of the family share."""

    family: ClassVar[str] = "cosmos_predict2"
    task: ClassVar[str] = "video2world"
    makes_video: ClassVar[bool] = True
    temporal: ClassVar[int] = 4
    spatial: ClassVar[int] = 8
    takes_input: ClassVar[Literal["", "sometimes", "always"]] = "always"
    hub: ClassVar[tuple[HubAsset, ...]] = HUB
    experiments: ClassVar[Mapping[str, Mapping[str, object]]] = EXPERIMENTS
    root_default: ClassVar[str] = "checkpoints"


class TrainSpec(VideoSpec):
    """Post-training of a model that goes on from a picture or a clip."""

    action: ClassVar[str] = "train"
    assumed: ClassVar[bool] = True
    aliases: ClassVar[Mapping[str, str]] = WORLD_ALIASES
    critical: ClassVar[Mapping[str, tuple[str, str]]] = {
        "job.experiment": ("a name of the table of recipes", "It brings size, mesh and schedule."),
        "dataloader_train.num_frames": ("4 N + 1; 93 as the model was trained", "The tokenizer takes no other number."),
        "model.train_architecture": ("lora for adapters", "base trains every weight, and needs the memory for it."),
        "model.parallelism.context_parallel_shard_degree": (
            "a divisor of the latent frames and of the heads",
            "Latent frames are dealt to the processes that share a sample.",
        ),
        "scheduler.warm_up_steps": ("fewer than trainer.max_iter", "The guide's own example warms up for ever."),
    }

    job: WorldJob = table(WorldJob(), "Name and place of a run.")
    model: VideoModel = table(
        VideoModel(), "The network: what of it is trained, in which precision, over which devices."
    )
    optimizer: VideoOptimizer = table(VideoOptimizer(), "AdamW, and which parameters it trains.")
    scheduler: VideoScheduler = table(
        VideoScheduler(),
        "Learning rate over the steps: warm-up, then decay, in one or more cycles; each list has an entry per cycle.",
    )
    trainer: loop.Trainer = table(loop.Trainer(), "How long the run is, and what a step is made of.")
    checkpoint: loop.Checkpoint = table(loop.Checkpoint(), "Where the run starts from, and when it is saved.")
    dataloader_train: VideoKeys = table(
        REQUIRED, "A folder with videos/, metas/ and, where embedded before, t5_xxl/; and how its clips become samples."
    )

    def datasets(self) -> tuple[DatasetRef, ...]:
        return (self.dataloader_train.ref("train", "dataloader_train"),)

    def models(self) -> tuple[ModelRef, ...]:
        tokenizer = ModelRef("tokenizer", self.model.tokenizer.vae_path, "model.tokenizer.vae_path")
        encoder = self.model.text_encoder
        text = (ModelRef("text_encoder", encoder, "model.text_encoder"),) if encoder else ()
        return (ModelRef("model", self.checkpoint.load_path, "checkpoint.load_path"), tokenizer, *text)
