"""From a plan to a sharded model: meta device, LoRA, activation checkpointing, compilation, sharding, weights.

The order matters: LoRA changes the modules that the wrappers see; checkpointing must lie inside the compiled region;
FSDP must be outermost, so that a block is gathered once for forward and recomputation alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import init_empty_weights
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.fsdp import register_fsdp_forward_method as register_forward
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

from tao_runtime.data.snapshot import network_folder, read_json
from tao_runtime.engine import adapter
from tao_runtime.engine.dist import Meshes
from tao_runtime.engine.families import ChatFamily, WetFamily
from tao_runtime.engine.initialise import initial_values, skipped
from tao_runtime.engine.weights import LoadReport, Snapshot, clean_name, load_base, put
from tao_runtime.errors import RunError
from tao_runtime.plan.diffusion import RecomputePlan
from tao_runtime.plan.model import ModelPlan, PrecisionPlan, TrainPlan

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Built:
    """A model ready to train, and what the step-0 gate saw."""

    model: nn.Module
    added: frozenset[str]  # the adapter's parameters
    fresh: frozenset[str]  # parameters that no base holds
    load: LoadReport
    trainable: tuple[str, ...]
    skipped: tuple[str, ...] = ()  # parameters that the spec keeps from being loaded


def build_sharded(
    family: WetFamily,
    directory: Path,
    *,
    plan: TrainPlan,
    meshes: Meshes,
) -> Built:
    """Return the model of a snapshot, sharded over its mesh, each rank holding only its part."""
    mesh, precision, lora = meshes.weights, plan.precision, plan.model.lora
    with init_empty_weights(include_buffers=False):
        model = family.build(Path(plan.model.architecture or directory), packed=True)
    cast_parameters(model, DTYPES[precision.master])
    added = frozenset[str]()
    if lora is not None:
        added = adapter.inject(model, lora)
    choose_trainable(model, plan.model)
    select(model, family, plan.optimizer.keys_to_select)
    if meshes.sequence is not None:
        family.share_sequence(model, meshes.sequence)
    wrap_blocks(model, family, plan)
    shard(model, family, precision, mesh)
    materialise(model, torch.device("cpu") if precision.offload else torch.device(mesh.device_type))
    added = frozenset(name for name, _ in model.named_parameters() if ".lora_" in name)
    fresh = family.fresh_parameters(model)
    skip = skipped(model, family, plan.model.skip_loading) - added - fresh.keys()
    report = load_base(model, directory, added=added | fresh.keys() | skip)
    start_fresh(model, fresh)
    start_skipped(model, family, plan, skip)
    if lora is not None:
        adapter.initialise(model, lora, seed=plan.seed)
    trainable = tuple(clean_name(name) for name, value in model.named_parameters() if value.requires_grad)
    return Built(model, added, frozenset(fresh), report, trainable, tuple(sorted(map(clean_name, skip))))


@torch.no_grad()
def start_fresh(model: nn.Module, values: Mapping[str, torch.Tensor]) -> None:
    """Give parameters that no base holds what they start from, the same on every rank."""
    for name, parameter in model.named_parameters():
        if name in values:
            put(parameter, values[name])


def start_skipped(model: nn.Module, family: WetFamily, plan: TrainPlan, names: frozenset[str]) -> None:
    """Give parameters that the spec keeps from being loaded the values of a new network."""
    by_name = {clean_name(name): value for name, value in model.named_parameters() if name in names}
    if not by_name:
        return
    directory = Path(plan.model.architecture or network_folder(Path(plan.model.path)))
    with torch.no_grad():
        for name, value in initial_values(partial(family.build, directory, packed=True), by_name, seed=plan.seed):
            put(by_name[name], value)


def build_whole(
    family: WetFamily, plan: ModelPlan, device: torch.device, *, packed: bool = False
) -> tuple[nn.Module, LoadReport]:
    """Return a model whole on one device, an adapter merged into its base: to generate with, or (packed) for its loss.

    Parameters that no base holds have what training starts them from.
    """
    base = network_folder(Path(plan.base_path or plan.path))
    if is_quantised(base):
        if plan.base_path is not None:
            raise RunError(f"{base} is quantised: an adapter is merged into the weights that it was trained on")
        return cast(ChatFamily, family).load_quantised(base, device, DTYPES[plan.dtype])
    with init_empty_weights(include_buffers=False):
        model = family.build(base, packed=packed)
    cast_parameters(model, DTYPES[plan.dtype])
    materialise(model, device)
    fresh = family.fresh_parameters(model)
    report = load_base(model, base, added=frozenset(fresh))
    start_fresh(model, fresh)
    if plan.base_path is not None:
        model = merged_adapter(model, Path(plan.path))
    return model.eval(), report


def is_quantised(directory: Path) -> bool:
    """Tell a folder of quantised weights by its configuration."""
    return bool(read_json(directory / "config.json").get("quantization_config"))


def merged_adapter(model: nn.Module, directory: Path) -> nn.Module:
    """Return the model with an adapter merged into it.

    Raises:
        RunError: the adapter's tensors are not those that its configuration puts on this model (peft would only warn).
    """
    from peft import PeftModel, get_peft_model_state_dict  # noqa: PLC0415 - a run without adapters starts without it

    adapted = PeftModel.from_pretrained(model, directory)
    wanted, found = set(get_peft_model_state_dict(adapted, save_embedding_layers=False)), Snapshot(directory).names
    if wanted != found:
        lost, strange = sorted(wanted - found), sorted(found - wanted)
        raise RunError(
            f"{directory}: {len(wanted & found)} of {len(wanted)} adapter tensors match the model; missing {lost[:3]}, "
            f"unknown {strange[:3]}. Want an adapter of this very base"
        )
    return adapted.merge_and_unload()


def cast_parameters(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast parameters only: rotary frequencies are buffers, and lose their meaning below float32."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def materialise(model: Any, device: torch.device) -> None:
    """Give every meta tensor memory, uninitialised; move the rest."""
    model._apply(lambda tensor: torch.empty_like(tensor, device=device) if tensor.is_meta else tensor.to(device))
    if hasattr(model, "tie_weights"):
        model.tie_weights()


def choose_trainable(model: nn.Module, plan: ModelPlan) -> None:
    """Apply freeze_pattern, trainable_pattern, trainable_map, in this order; a key that matches nothing is an error."""
    names = {clean_name(name): value for name, value in model.named_parameters()}
    if plan.trainable_pattern:  # what they match is trained, and nothing else
        for parameter in names.values():
            parameter.requires_grad_(False)
    rules = [(re.compile(pattern), False) for pattern in plan.freeze_pattern]
    rules += [(re.compile(pattern), True) for pattern in plan.trainable_pattern]
    rules += [(re.compile(rf"^{re.escape(key)}(\.|$)"), value) for key, value in plan.trainable_map.items()]
    for pattern, value in rules:
        matched = [name for name in names if pattern.search(name)]
        if not matched:
            raise RunError(f"policy: {pattern.pattern!r} matches no parameter of the model")
        for name in matched:
            names[name].requires_grad_(value)
    if not any(value.requires_grad for value in names.values()):
        raise RunError("policy: every parameter is frozen; there is nothing to train")


def select(model: nn.Module, family: WetFamily, keys: tuple[str, ...]) -> None:
    """Train only parameters with one of `keys` in their upstream name; no keys: leave everything as it is.

    Raises:
        RunError: a key is in no name, or nothing is left to train.
    """
    names = {family.original_name(clean_name(name)): value for name, value in model.named_parameters()}
    for key in keys:
        if not any(key in name for name in names):
            raise RunError(f"optimizer.keys_to_select: {key!r} is in no parameter's name, such as {min(names)}")
    for name, parameter in names.items():
        if keys and not any(key in name for key in keys):
            parameter.requires_grad_(False)
    if not any(value.requires_grad for value in names.values()):
        raise RunError("optimizer.keys_to_select: every parameter is frozen; there is nothing to train")


def wrap_blocks(model: nn.Module, family: WetFamily, plan: TrainPlan) -> None:
    """Recompute each block's activations in backward, and compile each block, where the plan says so."""
    targets, recompute = (
        family.blocks(model),
        plan.recompute or RecomputePlan(mode=plan.precision.activation_checkpointing),
    )
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if not any(child is block for block in targets):
                continue
            block = recomputed(child, recompute)
            if plan.precision.compile:
                # Lengths differ from step to step: one graph for all of them.
                block.compile(dynamic=True)
            setattr(parent, name, block)


def recomputed(block: nn.Module, plan: RecomputePlan) -> nn.Module:
    """Return a block that keeps in forward what the plan says, and computes the rest again in backward."""
    if plan.mode == "none":
        return block
    options: dict[str, Any] = {
        "preserve_rng_state": plan.preserve_random_state,
        "determinism_check": "none" if plan.check == "none" else "default",
    }
    if plan.mode == "full":
        return checkpoint_wrapper(block, **options)
    keep = partial(_keep_products, [re.compile(pattern) for pattern in plan.keep_operations])
    return checkpoint_wrapper(block, context_fn=partial(create_selective_checkpoint_contexts, keep), **options)


# What selective checkpointing keeps: the operations whose arithmetic is worth their memory.
KEPT = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
}


def _keep_products(
    named: list[re.Pattern[str]], context: object, operation: object, *args: object, **options: object
) -> CheckpointPolicy:
    kept = operation in KEPT or any(pattern.search(str(operation)) for pattern in named)
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


def shard(model: nn.Module, family: WetFamily, precision: PrecisionPlan, mesh: DeviceMesh) -> None:
    """Shard each block, then the rest as one group. Alone, and without a cast, there is nothing to gather or to cut."""
    # The loss runs the body and the head apart, so that logits exist only where a token is supervised.
    object.__setattr__(model, "training_loss", lambda batch: family.loss(model, batch))
    if mesh.size() == 1 and precision.master == precision.compute and not precision.offload:
        return
    policy = MixedPrecisionPolicy(
        param_dtype=DTYPES[precision.compute], reduce_dtype=DTYPES[precision.reduce], cast_forward_inputs=False
    )
    offload: OffloadPolicy = CPUOffloadPolicy() if precision.offload and mesh.device_type == "cuda" else OffloadPolicy()
    blocks = family.blocks(model)
    reshard = precision.reshard_after_forward
    for number, block in enumerate(blocks):
        # The last block is needed again at once by backward: gathering it twice would be waste.
        keep = number == len(blocks) - 1 if reshard is None else not reshard
        fully_shard(block, mesh=mesh, mp_policy=policy, offload_policy=offload, reshard_after_forward=not keep)
    fully_shard(model, mesh=mesh, mp_policy=policy, offload_policy=offload, reshard_after_forward=bool(reshard))
    register_forward(model, "training_loss")
