"""The plan: all the arithmetic of a run, one vocabulary for every family. Values only; the engine reads only these."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from tao_runtime.data.clips import ClipRules
from tao_runtime.data.vision import SamplingPlan
from tao_runtime.errors import Frozen
from tao_runtime.plan.costs import EstimatePlan
from tao_runtime.plan.diffusion import CyclePlan, DiffusionPlan, EmaPlan, RecomputePlan, SamplerPlan
from tao_runtime.plan.quantization import ProofPlan, SchemePlan

Dtype = Literal["float32", "float16", "bfloat16"]
Recompute = Literal["none", "selective", "full"]


class LoraPlan(Frozen):
    """peft's LoRA, every key resolved."""

    r: int
    alpha: float
    dropout: float
    target_modules: tuple[str, ...]
    modules_to_save: tuple[str, ...]
    use_rslora: bool
    init: bool | str
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]


class ModelPlan(Frozen):
    """Which weights, at which revision, and what of them is trained."""

    path: str = Field(description="local directory or hub id")
    revision: str | None = None
    weights_sha256: str | None = Field(default=None, description="of headers and pieces of tensors; null: not local")
    base_path: str | None = Field(default=None, description="the base that an adapter is put on")
    architecture: str | None = Field(default=None, description="configuration and processor are from here; null: path")
    skip_loading: tuple[str, ...] = Field(default=(), description="parts of upstream's tensor names that stay fresh")
    max_length: int = Field(description="tokens a sample may have")
    dtype: Dtype = "bfloat16"
    lora: LoraPlan | None = None
    trainable_map: dict[str, bool] = Field(default_factory=dict)
    freeze_pattern: tuple[str, ...] = ()
    trainable_pattern: tuple[str, ...] = ()


class DatasetPlan(Frozen):
    """One data set as the engine reads it."""

    annotation: str
    media_root: str
    num_records: int | None = Field(description="records that will be used; null: not known before the run")
    sha256: str | None = None
    exclude: tuple[int, ...] = Field(default=(), description="record indices held out of this set, by the auto-split")
    only: tuple[int, ...] | None = Field(default=None, description="if set, the record indices that make up this set")
    response_mode: str = Field(default="answer", description="which part of an answer is supervised")
    format: str = Field(default="llava", description="how the data set is laid out")
    dropped: dict[str, int] = Field(default_factory=dict, description="why windows give no sample -> how many")


LOAD_TIMEOUT_S = 120.0  # where a spec has no key for it


class LoadingPlan(Frozen):
    """How samples are loaded ahead."""

    num_workers: int = Field(default=0, description="threads; 0: in the training loop")
    prefetch_factor: int = 2
    timeout_s: float | None = Field(default=None, description="seconds after which a sample that hangs is given up")


class DataPlan(Frozen):
    """What a sample is made of, and the budget for bad ones."""

    train: DatasetPlan
    val: DatasetPlan | None = None
    sampling: SamplingPlan
    clips: ClipRules | None = Field(default=None, description="how clips become samples, where video is made")
    system_prompt: str = ""
    conversation_key: str = "conversations"
    prompt_format: str
    loading: LoadingPlan
    cache_bytes: int = Field(
        default=0, description="decoded frames kept in memory, per process; or latents on disk, per run"
    )
    bad_sample_budget: int = Field(default=0, description="samples that may fail to decode before the run stops")


class BatchPlan(Frozen):
    """How a global batch is cut: rank x accumulation x micro."""

    per_rank: int = Field(description="samples of a rank and step; 0: as many as pack_tokens hold")
    micro: int = Field(description="samples of a micro-batch; 0: as many as pack_tokens hold")
    micro_tokens: int | None = Field(
        default=None, description="tokens that a micro-batch may hold, however many samples; null: not limited"
    )
    pack_tokens: int | None = Field(default=None, description="whole samples fill a micro-batch up to so many tokens")
    max_samples: int | None = Field(default=None, description="and at most so many samples; null: no limit")
    accumulation: int | None = Field(
        description="micro-batches per optimizer step; null: as many as the tokens of a step need, or not known"
    )
    data_parallel: int | None = Field(description="data-parallel ranks; null: the mesh does not fit the world")
    global_batch: int | None
    shuffle: bool = True
    seed: int = 0
    drop_last: bool = True


class StepPlan(Frozen):
    """How many optimizer steps there are."""

    epochs: int | None = Field(description="null: the number of steps is what is given")
    per_epoch: int | None
    total: int | None
    dropped_per_epoch: int | None = Field(default=None, description="records left over each epoch; others each time")
    limit: int | None = Field(default=None, description="upper bound that the spec sets on total")
    samples: float | None = Field(default=None, description="of a step; where packs are filled, about; null: not known")
    passes: float | None = Field(default=None, description="times that the run visits a sample, about; null: not known")


class OptimizerPlan(Frozen):
    name: Literal["AdamW", "Adam"]
    lr: dict[str, float] = Field(description="learning rate by part of the model; 'global' is every other parameter")
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    implementation: Literal["fused", "foreach", "for-loop"]
    grad_clip: float = Field(description="largest global L2 norm of the gradient; 0: not clipped")
    force_finite: bool = Field(default=False, description="true: gradients that are not finite become 0, and count")
    keys_to_select: tuple[str, ...] = Field(
        default=(), description="only parameters with one of these in their upstream name are trained; empty: all"
    )
    lr_multipliers: dict[str, float] = Field(
        default_factory=dict, description="part of an upstream name -> factor on the rate; the first match counts"
    )


class SchedulePlan(Frozen):
    """Factor on the learning rate: linear warm-up, then decay to a floor."""

    warmup_steps: int | None
    decay_steps: int | None = Field(default=None, description="last steps over which it falls; null: all after warm-up")
    decay: Literal["linear", "sqrt", "cosine", "none"]
    min_factor: float
    total_steps: int | None
    cycles: tuple[CyclePlan, ...] = Field(default=(), description="if there are any, they and `decay` say the factor")


class MeshPlan(Frozen):
    """The device mesh: dp_replicate x dp_shard x cp x tp x pp must equal world."""

    world: int
    dp_replicate: int | None
    dp_shard: int | None
    cp: int = 1
    tp: int = 1
    pp: int = 1
    cfg: int = Field(default=1, description="guided and unguided pass on ranks of their own")


class PrecisionPlan(Frozen):
    master: Dtype = Field(description="storage and optimizer dtype")
    compute: Dtype
    reduce: Dtype = Field(description="dtype of the gradient reduction")
    reshard_after_forward: bool | None = Field(default=None, description="null: all blocks but the last")
    offload: bool = Field(default=False, description="parameters, gradients and optimizer state on the CPU")
    activation_checkpointing: Recompute = Field(
        default="full", description="what is computed again in backward; selective keeps products of matrices"
    )
    compile: bool = False
    deterministic: bool = False


class CheckpointPlan(Frozen):
    enabled: bool
    every_steps: int | None = Field(description="null: not known, or only at the end")
    max_keep: int = Field(description="-1: all")
    mode: Literal["sync", "async"]
    resume: bool
    warm_start: str | None = Field(default=None, description="directory whose weights start the run")
    export_safetensors: bool


class ValidationPlan(Frozen):
    enabled: bool
    every_steps: int | None
    before_train: bool = False
    batch_size: int
    loading: LoadingPlan
    cache: bool = False


class BadStepPlan(Frozen):
    """What becomes of a step whose gradient is not finite, or far larger than usual: it is skipped, and counted."""

    in_a_row: int = Field(default=3, description="so many bad steps in a row end the training, or roll it back")
    then: Literal["stop", "rollback"] = "stop"
    spike_factor: float | None = Field(
        default=None,
        description="a norm above so many times the median of the last ones is bad; null: no finite one",
    )
    max_rollbacks: int = 3


class LoggingPlan(Frozen):
    loggers: tuple[str, ...]
    project: str
    experiment: str
    group: str | None = None
    every_steps: int = 1
    offline: bool = Field(default=False, description="the logging service gets its files later")


class TrainPlan(Frozen):
    """A training run: what the engine executes."""

    schema_version: Literal["tao-run/train-plan/1"] = Field(default="tao-run/train-plan/1", alias="schema")
    family: str
    action: Literal["train"] = "train"
    spec_sha256: str
    output_dir: str
    seed: int
    model: ModelPlan
    data: DataPlan
    batch: BatchPlan
    steps: StepPlan
    optimizer: OptimizerPlan
    schedule: SchedulePlan
    mesh: MeshPlan
    precision: PrecisionPlan
    checkpoint: CheckpointPlan
    validation: ValidationPlan
    bad_steps: BadStepPlan = Field(default_factory=BadStepPlan)
    logging: LoggingPlan
    estimate: EstimatePlan
    diffusion: DiffusionPlan | None = None
    ema: EmaPlan | None = None
    recompute: RecomputePlan | None = None


class GenerationPlan(Frozen):
    """How answers are generated."""

    max_new_tokens: int
    temperature: float = 0.0
    repetition_penalty: float = 1.0
    batch_size: int = 8
    seed: int = 0


class EvaluatePlan(Frozen):
    """An evaluation: which model answers which records, and how the answers are judged."""

    schema_version: Literal["tao-run/evaluate-plan/1"] = Field(default="tao-run/evaluate-plan/1", alias="schema")
    family: str
    action: Literal["evaluate"] = "evaluate"
    spec_sha256: str
    output_dir: str
    model: ModelPlan
    data: DatasetPlan
    sampling: SamplingPlan
    system_prompt: str
    prompt_format: str
    generation: GenerationPlan
    world: int
    task: str = Field(description="'' detects yes/no answers; its_directionality; mcq; binary; text")
    text_metrics: tuple[str, ...] = ()
    metric_options: dict[str, JsonValue] = Field(default_factory=dict)
    soft_accuracy_threshold: float | None = Field(default=None, description="null: not computed")
    limit: int | None = None
    skip_saved: bool = False
    save_individual: bool = True
    save_summary: bool = True
    save_confusion_matrix: bool = True


class InferencePlan(Frozen):
    """Answers for a file, a folder or an annotation file, without ground truth."""

    schema_version: Literal["tao-run/inference-plan/1"] = Field(default="tao-run/inference-plan/1", alias="schema")
    family: str
    action: Literal["inference"] = "inference"
    spec_sha256: str
    output_dir: str
    model: ModelPlan
    media: str
    media_kind: Literal["video", "image"]
    prompt: str
    prompts: tuple[str, ...] = Field(default=(), description="asked of each file, instead of prompt")
    sampling: SamplingPlan
    system_prompt: str = ""
    prompt_format: str
    generation: GenerationPlan
    world: int


class QuantizePlan(Frozen):
    """A model made smaller, and the proof that it still answers."""

    schema_version: Literal["tao-run/quantize-plan/1"] = Field(default="tao-run/quantize-plan/1", alias="schema")
    family: str
    action: Literal["quantize"] = "quantize"
    spec_sha256: str
    output_dir: str
    model: ModelPlan
    scheme: SchemePlan
    calibration: DatasetPlan | None
    data: DatasetPlan | None = Field(description="held-out records that both models answer")
    proof: ProofPlan
    generation: GenerationPlan
    world: int = 1


class VideoEvaluatePlan(Frozen):
    """The training loss of held-out clips at fixed noise levels, and videos made from their captions."""

    schema_version: Literal["tao-run/video-evaluate-plan/1"] = Field(
        default="tao-run/video-evaluate-plan/1", alias="schema"
    )
    family: str
    action: Literal["evaluate"] = "evaluate"
    spec_sha256: str
    output_dir: str
    model: ModelPlan
    data: DatasetPlan
    clips: ClipRules
    diffusion: DiffusionPlan
    sampler: SamplerPlan
    noise_levels: tuple[float, ...] = Field(
        description="middles of equal shares of what training draws, in its unit: t of waver, else sigma"
    )
    commit: str | None = Field(default=None, description="weights of a training run, in the place of the model's")
    averaged: bool = Field(default=True, description="of a commit, the averaged weights and not the live ones")
    baseline: ModelPlan | None = Field(default=None, description="judged beside, on the same clips and noise")
    num_reconstructions: int = 0
    num_videos: int
    limit: int | None
    world: int


class VideoInferencePlan(Frozen):
    """Videos from prompts, and where given from a picture or a clip."""

    schema_version: Literal["tao-run/video-inference-plan/1"] = Field(
        default="tao-run/video-inference-plan/1", alias="schema"
    )
    family: str
    action: Literal["inference"] = "inference"
    spec_sha256: str
    output_dir: str
    model: ModelPlan
    tokenizer: str | None = Field(description="null: that beside the model")
    prompt: str
    prompts: str | None = Field(description="file of prompts, instead of one")
    negative_prompt: str
    input: str | None
    num_frames: int
    size: tuple[int, int] = Field(description="height, width in pixels")
    fps: float
    sampler: SamplerPlan
    cp: int = Field(default=1, description="processes that make one clip together")
    offload: tuple[str, ...] = Field(default=(), description="parts that are on the device only while they work")
    upsampler: str | None = Field(default=None, description="text model that writes prompts anew")
    world: int


ClipsPlan = TrainPlan | VideoEvaluatePlan  # that read clips
Plan = TrainPlan | EvaluatePlan | InferencePlan | QuantizePlan | VideoEvaluatePlan | VideoInferencePlan
AnyPlan = Plan
