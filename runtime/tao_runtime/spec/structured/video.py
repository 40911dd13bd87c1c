"""Evaluation and inference of a family that makes video: the tables its specs share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tao_runtime.spec.base import ModelRef, Section
from tao_runtime.spec.field import REQUIRED, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Text
from tao_runtime.spec.structured.field import OURS, PREDICT, Dtype, key

Size = Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)]

# The plan names each of them, and every clip is judged at each.
NoiseLevels = Annotated[int, Field(ge=1, le=1024)]


class TunedModel(Section):
    """The weights that are judged, or that make video."""

    path: Text = key(
        REQUIRED, "Weights: the export of a run, a diffusers directory, or org/name on the hub.", since=OURS
    )
    base_path: str = key("", "Base that an adapter in path is put on. Empty: path is a whole model.", since=OURS)
    vae_path: str = key("", "Weights of the video tokenizer. Empty: those beside the model.", since=OURS)
    precision: Dtype = key("bfloat16", "Type of weights and arithmetic.", since=OURS)

    def refs(self, prefix: str = "model.") -> tuple[ModelRef, ...]:
        """Return what is loaded, as the rest of the package names it."""
        refs = [ModelRef("model", self.path, f"{prefix}path")]
        refs += [ModelRef("base_model", self.base_path, f"{prefix}base_path")] if self.base_path else []
        return (*refs, *([ModelRef("tokenizer", self.vae_path, f"{prefix}vae_path")] if self.vae_path else []))


class JudgedModel(TunedModel):
    """The weights that are judged."""

    commit: str = key(
        "",
        "Commit of a training run, checkpoints/iter_...: its weights take the place of those in path. Empty: none.",
        since=OURS,
    )
    weights: Literal["averaged", "live"] = key(
        "averaged",
        "Which of a commit's weights: averaged ones (EMA), or those that are trained on. An export has its own.",
        since=OURS,
    )
    baseline_path: str = key(
        "",
        "Weights that are judged beside, on the same clips and noise. Empty: the base of an adapter, or of a commit.",
        since=OURS,
    )

    def refs(self, prefix: str = "model.") -> tuple[ModelRef, ...]:
        beside = self.baseline_path
        more = (ModelRef("baseline", beside, f"{prefix}baseline_path"),) if beside else ()
        return (*super().refs(prefix), *more)

    def judged(self, prefix: str = "model.") -> tuple[ModelRef, ...]:
        """Return what is judged: also a commit, which takes the place of other weights and is no model by itself."""
        commit = (ModelRef("commit", self.commit, f"{prefix}commit"),) if self.commit else ()
        return (*commit, *self.refs(prefix))


class Sampling(Section):
    """How video is made from noise."""

    num_steps: PositiveInt = key(35, "Steps from noise to video.", unit="steps", since=OURS)
    guidance: NonNegativeFloat = key(7.0, "How strongly the text pulls. 0 or 1: no guidance.", since=OURS)
    seed: NonNegativeInt = key(0, "Seed of the noise.", since=OURS)


class Scoring(Sampling):
    """How held-out clips are judged."""

    num_noise_levels: NoiseLevels = key(
        8, "Fixed noise levels at which the training loss is measured on every clip.", since=OURS
    )
    num_reconstructions: NonNegativeInt = key(
        16, "Clips that are encoded and decoded again: what the video tokenizer loses.", unit="clips", since=OURS
    )
    num_videos: NonNegativeInt = key(
        4, "Clips that are also made from their caption, and compared with the real one.", unit="clips", since=OURS
    )
    limit: Literal[-1] | PositiveInt = key(-1, "Judge only so many clips. -1: all.", unit="clips", since=OURS)


class Request(Sampling):
    """What video is asked for."""

    prompt: str = key("", "What the video shows. Instead of prompts_path.", since=OURS)
    prompts_path: str = key(
        "", "File with one JSON object a line: prompt, and where wanted input_path, name and seed.", since=OURS
    )
    negative_prompt: str = key("", "What the video does not show.", since=OURS)
    input_path: str = key(
        "", "Picture or clip that the video goes on from, or a folder: a video for each. Empty: text alone.", since=OURS
    )
    num_frames: PositiveInt = key(121, "Frames of the video.", unit="frames", since=OURS)
    size: Size = key((704, 1280), "Height and width of the video.", unit="pixels", since=OURS)
    fps: PositiveFloat = key(24.0, "Frames per second of the video.", unit="frames/s", since=OURS)
    context_parallel_size: PositiveInt = key(
        1,
        "Processes that make one clip together, each a part of its latent frames or tokens. Groups of so many "
        "processes make a clip each. 1: every process makes clips of its own.",
        unit="processes",
        since=OURS,
    )
    offload_diffusion_transformer: bool = key(
        False, "The network is on the device only while it denoises.", since=PREDICT
    )
    offload_tokenizer: bool = key(
        False, "The video tokenizer is on the device only while it encodes or decodes.", since=PREDICT
    )
    offload_text_encoder_model: bool = key(
        False, "The text encoder is on the device only while it encodes the prompt.", since=PREDICT
    )
    offload_prompt_upsampler: bool = key(
        False, "The model that writes prompts anew leaves the device before clips are made.", since=PREDICT
    )
    offload_guardrail_models: bool = key(
        False, "The safety checker is on the device only while it checks.", since=PREDICT
    )
    prompt_upsampler_path: str = key(
        "", "Text model that writes each prompt anew, in more detail. Empty: prompts stay as they are.", since=OURS
    )

    def refs(self) -> tuple[ModelRef, ...]:
        """Return what is loaded beside the model."""
        path = self.prompt_upsampler_path
        return (ModelRef("prompt_upsampler", path, "inference.prompt_upsampler_path"),) if path else ()
