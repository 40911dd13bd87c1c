"""The tables of the Predict models: what their guides configure in Python, under the section names of the dialect."""

from __future__ import annotations

from typing import Any, Literal

from tao_runtime.spec.base import DatasetRef, Section
from tao_runtime.spec.field import REQUIRED, Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Text, table
from tao_runtime.spec.structured import model as shared
from tao_runtime.spec.structured.field import OURS, Dtype, key
from tao_runtime.spec.structured.video import Size

UPSTREAM = "cosmos-predict"


def again(section: type[Section], name: str, default: Any) -> Any:
    """Declare a key of a section once more, with another default."""
    return key(default, section.model_fields[name].description or "", since=UPSTREAM)


class WorldParallelism(shared.Parallelism):
    """Degrees of the device mesh. Their product is the number of processes."""

    fsdp_group_size: PositiveInt | None = key(
        None,
        "Processes that upstream shards over, context parallelism included; used where data_parallel_shard_degree is "
        "-1: min(group, processes) / context_parallel_shard_degree shards, and as many copies as are left.",
        unit="processes",
        since=UPSTREAM,
    )


class WorldModel(Section):
    """The network: what of it is trained, in which precision, over which devices."""

    train_architecture: Literal["base", "lora"] = key(
        "base", "base trains all weights, lora low-rank adapters.", since=UPSTREAM
    )
    lora_rank: PositiveInt = key(16, "Rank of the adapters.", since=UPSTREAM)
    lora_alpha: PositiveFloat = key(
        16, "Numerator of the adapter's scale, which is lora_alpha / lora_rank.", since=UPSTREAM
    )
    lora_target_modules: Text = key(
        REQUIRED, "Names of the layers that get adapters, in upstream's names, separated by commas.", since=UPSTREAM
    )
    precision: Dtype = key("bfloat16", "Type of forward and backward passes.", since=UPSTREAM)
    text_dropout: Fraction = key(0.2, "Share of samples that are trained without their text.", since=UPSTREAM)
    loss_scale: PositiveFloat = key(1.0, "Factor on the loss.", since=UPSTREAM)
    adjust_video_noise: bool = key(
        False, "Multiply the noise level by the root of the number of latent frames.", since=UPSTREAM
    )
    text_encoder: str = key(
        "google-t5/t5-11b",
        "Model that embeds captions without a precomputed file: a directory, or org/name on the hub. Empty: every clip "
        "must have its file.",
        since=OURS,
    )
    ema: shared.Ema = table(shared.Ema(), "A second, averaged copy of the trained weights. It is what inference uses.")
    parallelism: WorldParallelism = table(
        WorldParallelism(), "Degrees of the device mesh. Their product is the number of processes."
    )
    compile: shared.Compile = table(shared.Compile(), "torch.compile of the network's blocks.")
    activation_checkpointing: shared.ActivationCheckpointing = table(
        shared.ActivationCheckpointing(),
        "Computing activations again in the backward pass instead of keeping them.",
    )


class FolderKeys(Section):
    """A folder with videos/, metas/ and, where embedded before, t5_xxl/; and how its clips become samples."""

    dataset_dir: Text = key(REQUIRED, "Folder that holds videos/*.mp4 and metas/*.txt.", since=UPSTREAM)
    num_frames: PositiveInt = key(REQUIRED, "Frames of a sample.", unit="frames", since=UPSTREAM)
    video_size: Size = key(
        (704, 1280), "Height and width of a sample: resized to cover, then cropped.", unit="pixels", since=UPSTREAM
    )
    sequence_interval: PositiveInt = key(
        1, "Frames of the file per frame of the sample.", unit="frames", since=UPSTREAM
    )
    batch_size: PositiveInt = key(1, "Samples of a micro-batch.", unit="samples", since=UPSTREAM)
    num_workers: NonNegativeInt = key(8, "Threads that read and decode ahead, per process.", since=UPSTREAM)
    seed: NonNegativeInt = key(0, "Seed of order, noise and every other draw.", since=UPSTREAM)

    def ref(self, label: str, table_key: str) -> DatasetRef:
        """Return this data set as the rest of the package names it."""
        where = f"{table_key}.dataset_dir"
        return DatasetRef(label, self.dataset_dir, self.dataset_dir, where, where, format="video-folder")
