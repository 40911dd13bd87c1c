"""Which model is trained, how it is spread over devices, and LoRA: the `policy` table of a training spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tao_runtime.spec.base import Section
from tao_runtime.spec.field import Automl, PositiveFloat, PositiveInt, Text, Texts, key, table

BASE_MODEL = "hf_model://nvidia/Cosmos-Reason2-8B"

Degree = Literal[-1] | PositiveInt
InitLora = Annotated[str, Field(pattern=r"^(gaussian|eva|olora|pissa|pissa_niter_[1-9][0-9]*)$")]


class Lora(Section):
    """Low-rank adapters. Give the table, even an empty one, to train adapters instead of all weights."""

    r: PositiveInt = key(
        8, "Rank of the adapters.", automl=Automl(enabled=True, minimum=1, maximum=256, math_condition="^ 2")
    )
    r_pattern: dict[str, PositiveInt] | None = key(
        None, "Rank by regular expression of module name; the first match wins.", automl=Automl(enabled=False)
    )
    lora_alpha: PositiveFloat = key(
        8,
        "Numerator of the adapter's scale, which is lora_alpha / r.",
        automl=Automl(enabled=True, minimum=1, maximum=1024, math_condition="^ 2"),
    )
    alpha_pattern: dict[str, PositiveFloat] | None = key(
        None, "lora_alpha by regular expression of module name; the first match wins.", automl=Automl(enabled=False)
    )
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = key(
        0.0,
        "Share of the adapter's inputs that is dropped while training.",
        automl=Automl(enabled=True, minimum=0.0, maximum=0.1),
    )
    target_modules: Literal["all-linear"] | Annotated[tuple[Text, ...], Field(min_length=1, strict=False)] = key(
        ("q_proj", "v_proj"),
        "Names of the layers that get adapters, or all-linear. attn.qkv and attn.proj are the vision tower's and "
        "exclude modules_to_save = [visual].",
        automl=Automl(
            enabled=False,
            options=(
                "q_proj",
                "k_proj",
                "v_proj",
                "o_proj",
                "up_proj",
                "gate_proj",
                "down_proj",
                "attn.qkv",
                "attn.proj",
                "all-linear",
            ),
            depends_on="policy.lora.modules_to_save",
        ),
    )
    use_rslora: bool = key(False, "Scale adapters by lora_alpha / sqrt(r) instead of lora_alpha / r.")
    modules_to_save: Annotated[tuple[Text, ...], Field(strict=False)] | None = key(
        (),
        "Modules that are trained whole and saved with the adapter, for example visual.",
        automl=Automl(enabled=False, options=("visual",), parent=True),
    )
    init_lora_weights: bool | InitLora = key(
        True,
        "How adapters start: true leaves the model's output unchanged at step 0; gaussian draws A from a normal "
        "distribution; false is for debugging.",
        automl=Automl(options=(True, False, "gaussian", "eva", "olora", "pissa", "pissa_niter_[numberofiters]")),
    )


class Parallelism(Section):
    """Degrees of the device mesh. Their product is the number of processes."""

    n_init_replicas: PositiveInt = key(1, "Replicas that a controller starts. Has no effect here: there is none.")
    tp_size: PositiveInt = key(1, "Tensor-parallel degree.", unit="processes")
    cp_size: PositiveInt = key(1, "Context-parallel degree: processes that share one sequence.", unit="processes")
    dp_shard_size: Degree = key(
        1,
        "Processes that share one copy of the weights (FSDP); usually the GPUs of a node. -1: what is left of the "
        "processes.",
        unit="processes",
    )
    dp_replicate_size: Degree = key(
        1,
        "Copies of the weights, each sharded over dp_shard_size processes; usually the nodes. -1: what is left of "
        "the processes.",
        unit="copies",
    )
    pp_size: PositiveInt = key(1, "Pipeline-parallel degree.", unit="processes")
    cp_rotate_method: Literal["allgather", "p2p"] = key(
        "allgather", "How keys and values travel between context-parallel processes."
    )


class Policy(Section):
    """The model that is trained."""

    model_name_or_path: Text = key(
        BASE_MODEL,
        "Weights to start from: a local snapshot, org/name on the hub, or hf_model://org/name.",
    )
    model_revision: Text | None = key(
        None, "Branch, tag or commit of the hub repository. Null: its default branch.", since="cosmos-rl"
    )
    model_max_length: PositiveInt = key(
        40960,
        "Longest sample that is allowed, text and vision together. A longer one is an error, never cut.",
        unit="tokens",
    )
    model_gradient_checkpointing: Literal["selective"] | bool = key(
        True,
        "Compute activations again in the backward pass instead of keeping them: less memory, more time. selective "
        "keeps the products of matrices and computes the rest again: between the two in both.",
    )
    freeze_pattern: Texts = key(
        (),
        "Regular expressions of parameter names that are not trained. Not together with trainable_pattern.",
        since="cosmos-rl",
    )
    trainable_pattern: Texts = key(
        (),
        "Regular expressions of parameter names; nothing else is trained. Not together with freeze_pattern.",
        since="cosmos-rl",
    )
    trainable_map: dict[str, bool] | None = key(
        None, "Parameter or module name to whether it is trained.", since="cosmos-rl"
    )
    parallelism: Parallelism = table(
        Parallelism(), "Degrees of the device mesh. Their product is the number of processes."
    )
    lora: Lora | None = table(
        None, "Low-rank adapters. Give the table, even an empty one, to train adapters instead of all weights."
    )
