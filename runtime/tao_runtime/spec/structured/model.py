"""The `model` table: packing, attention, LoRA, EMA, device mesh, compilation, recomputation, tokenizer, backbone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tao_runtime.spec.base import Section
from tao_runtime.spec.field import NonNegativeInt, PositiveFloat, PositiveInt, Text, Texts, table
from tao_runtime.spec.structured.field import Degree, Dtype, key


class Ema(Section):
    """A second, averaged copy of the trained weights. It is what inference uses."""

    enabled: bool = key(True, "Keep it. Usual for full training, not for LoRA.")
    rate: Annotated[float, Field(gt=0, lt=0.25)] = key(
        0.1,
        "Width of the averaging window, as a share of the steps so far (power function of EDM2, appendix C): smaller "
        "follows the weights more closely.",
    )
    iteration_shift: NonNegativeInt = key(0, "Steps added to the counter of the average.", unit="steps")


class Parallelism(Section):
    """Degrees of the device mesh. Their product is the number of processes."""

    data_parallel_shard_degree: Degree = key(
        -1, "Processes that share one copy of the weights (FSDP). -1: what is left of the processes.", unit="processes"
    )
    data_parallel_replicate_degree: Degree = key(
        1, "Copies of the weights, each sharded. -1: what is left of the processes.", unit="copies"
    )
    context_parallel_shard_degree: PositiveInt = key(1, "Processes that share one sequence.", unit="processes")
    cfg_parallel_shard_degree: PositiveInt = key(
        1, "Processes that share the guided and the unguided pass. Training has one pass only.", unit="processes"
    )
    fsdp_master_dtype: Dtype = key("float32", "Type in which weights are stored, and gradients are summed.")


class Compile(Section):
    """torch.compile of the network's blocks."""

    enabled: bool = key(False, "Compile them: faster once shapes are stable.")
    compile_dynamic: bool = key(True, "Compile for shapes that change instead of once per shape.")


class ActivationCheckpointing(Section):
    """Computing activations again in the backward pass instead of keeping them."""

    mode: Literal["none", "selective", "full"] = key(
        "full", "full: each block again; selective: all but the operations named; none: keep everything."
    )
    save_ops_regex: Texts = key(("fmha",), "Regular expressions of operations that selective keeps.")
    preserve_rng_state: bool = key(True, "Bring the random state back for the second computation.")
    determinism_check: Literal["default", "none", "match"] = key(
        "default", "Whether the second computation is compared with the first; match does, slowly."
    )


class Tokenizer(Section):
    """The video tokenizer."""

    vae_path: Text = key(
        "pretrained/tokenizers/video/wan2pt2/Wan2.2_VAE.pth", "Weights of the video tokenizer: a file or a directory."
    )


class Backbone(Section):
    """The language model with its vision tower."""

    model_name: str = key("", "Architecture and processor: org/name on the hub, or a local directory.")
    safetensors_path: str = key(
        "", "Weights that are loaded instead of those of model_name: a directory or a file. Empty: those of model_name."
    )


class Model(Section):
    """The network: what of it is trained, in which precision, over which devices."""

    max_num_tokens_after_packing: Annotated[int, Field(ge=-1)] = key(
        13312, "Tokens that samples are packed up to, per process and micro-batch. -1: no limit.", unit="tokens"
    )
    joint_attn_implementation: Literal["two_way", "three_way", "flex"] = key(
        "two_way", "Layout of attention between the two towers. Only two_way exists here."
    )
    attn_implementation: Literal["cosmos", "flash_attention_2", "sdpa", "eager"] = key(
        "cosmos", "Attention kernels of a reasoner; cosmos is upstream's own choice between them."
    )
    lora_enabled: bool = key(
        False, "Train low-rank adapters instead of the weights that optimizer.keys_to_select name."
    )
    lora_rank: PositiveInt = key(16, "Rank of the adapters.")
    lora_alpha: PositiveFloat = key(32, "Numerator of the adapter's scale, which is lora_alpha / lora_rank.")
    lora_target_modules: Text = key(
        "q_proj_moe_gen,k_proj_moe_gen,v_proj_moe_gen,o_proj_moe_gen",
        "Names of the layers that get adapters, in upstream's names, separated by commas.",
    )
    precision: Dtype = key("bfloat16", "Type of forward and backward passes.")
    ema: Ema = table(Ema(), "A second, averaged copy of the trained weights. It is what inference uses.")
    parallelism: Parallelism = table(
        Parallelism(), "Degrees of the device mesh. Their product is the number of processes."
    )
    compile: Compile = table(Compile(), "torch.compile of the network's blocks.")
    activation_checkpointing: ActivationCheckpointing = table(
        ActivationCheckpointing(), "Computing activations again in the backward pass instead of keeping them."
    )
    tokenizer: Tokenizer = table(Tokenizer(), "The video tokenizer.")
    backbone: Backbone = table(Backbone(), "The language model with its vision tower.")
