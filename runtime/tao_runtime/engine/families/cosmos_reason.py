"""The wet half of the Qwen3-VL family: network, collation, loss and generation on one device.

Tensor suffixes: B samples, S sequence, N supervised tokens, P patches, D patch values, T C H W frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from transformers import AutoConfig, AutoModelForImageTextToText

from tao_runtime.data.facts import VisionGeometry
from tao_runtime.engine.samples import Item
from tao_runtime.plan.model import GenerationPlan

IGNORED = -100  # label of a token that does not count, torch's convention
MODALITY = {"image": 1, "video": 2}  # mm_token_type_ids of transformers 5
Batch = dict[str, torch.Tensor]
Network = Any  # the library builds its networks from configurations: their attributes have no static types


def build(directory: Path) -> Network:
    """Return the network of a snapshot without weights, dtype float32."""
    config = AutoConfig.from_pretrained(directory)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    model.config.use_cache = False
    _speed_up_patch_embedding(model)
    return model


def _speed_up_patch_embedding(model: Network) -> None:
    """Run the patch embedding as a matrix product.

    Its kernel equals its stride, so the convolution is one; Conv3d's backward is 36 % of a packed step on a CPU.
    """
    # A bound method, not a closure: it follows the module when that is copied.
    patch_embed = model.model.visual.patch_embed
    patch_embed.forward = MethodType(_embed_patches, patch_embed)


def _embed_patches(patch_embed: Network, patches_PD: torch.Tensor) -> torch.Tensor:
    weight = patch_embed.proj.weight
    return F.linear(patches_PD.to(weight.dtype), weight.flatten(1), patch_embed.proj.bias)


def blocks(model: Network) -> list[nn.Module]:
    """Return the vision blocks, then the decoder layers."""
    return [*model.model.visual.blocks, *model.model.language_model.layers]


def part_of(parameter: str) -> str:
    """Return the part of the model that a parameter belongs to; the vision mergers are the projector."""
    if ".visual." in f".{parameter}":
        return "projector" if "merger" in parameter else "visual"
    return "lm_head" if parameter.startswith("lm_head") else "language_model"


def patchify(frames_TCHW: torch.Tensor, geometry: VisionGeometry) -> torch.Tensor:
    """Return normalised patches [P, C x temporal x patch x patch] in the order of the library's processor.

    frames_TCHW: uint8, height and width multiples of patch x merge. An odd last frame is repeated.
    """
    patch, temporal, merge = geometry.patch_size, geometry.temporal_patch_size, geometry.merge_size
    if pad := -frames_TCHW.shape[0] % temporal:
        frames_TCHW = torch.cat([frames_TCHW, frames_TCHW[-1:].expand(pad, -1, -1, -1)])
    # In [0, 255], as the library fuses rescaling and normalisation: one rounding less.
    mean, std = (255.0 * torch.tensor(values).view(1, 3, 1, 1) for values in (geometry.mean, geometry.std))
    pixels = (frames_TCHW.float() - mean) / std
    frames, channels, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    pixels = pixels.view(
        frames // temporal, temporal, channels, rows // merge, merge, patch, columns // merge, merge, patch
    )
    return pixels.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(frames // temporal * rows * columns, -1)


def _empty_item() -> Item:
    """Return a sample of two tokens that trains on nothing: keeps a rank's collectives in step with the others."""
    return Item(-1, torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.bool), (), ())


def collate(items: Sequence[Item], geometry: VisionGeometry, *, left_pad: bool = False) -> Batch:
    """Return padded ids_BS, mask_BS, labels_BS and the patches of all media, images and videos apart.

    There is always at least one image or video in the patches: a rank whose samples have none still runs the vision
    tower (on one grey token, with weight 0), or the other ranks would wait for it forever.
    """
    items = list(items) or [_empty_item()]
    longest = max(len(item.ids) for item in items)
    ids_BS = torch.zeros(len(items), longest, dtype=torch.long)
    mask_BS = torch.zeros_like(ids_BS)
    labels_BS = torch.full_like(ids_BS, IGNORED)
    for row, item in enumerate(items):
        place = slice(longest - len(item.ids), None) if left_pad else slice(0, len(item.ids))
        ids_BS[row, place] = item.ids
        mask_BS[row, place] = 1
        labels_BS[row, place] = torch.where(item.supervised, item.ids, IGNORED)
    batch = {"input_ids": ids_BS, "attention_mask": mask_BS, "labels": labels_BS}
    media = [(layout, frames) for item in items for layout, frames in zip(item.layouts, item.frames, strict=True)]
    for kind, pixels, grid in (
        ("video", "pixel_values_videos", "video_grid_thw"),
        ("image", "pixel_values", "image_grid_thw"),
    ):
        chosen = [(layout, frames) for layout, frames in media if layout.kind == kind]
        if chosen:
            batch[pixels] = torch.cat([patchify(frames, geometry) for _, frames in chosen])
            batch[grid] = torch.tensor([layout.grid_thw for layout, _ in chosen])
    if not media:
        side = geometry.patch_size * geometry.merge_size
        grey = torch.full((geometry.temporal_patch_size, 3, side, side), 127, dtype=torch.uint8)
        batch["idle_patches"] = patchify(grey, geometry)
    return batch


def _forward(model: Network, batch: Batch) -> torch.Tensor:
    """Return the hidden states_BSH of the language model."""
    ids_BS = batch["input_ids"]
    config = model.config
    kinds_BS = torch.zeros_like(ids_BS)
    kinds_BS[ids_BS == config.image_token_id] = MODALITY["image"]
    kinds_BS[ids_BS == config.video_token_id] = MODALITY["video"]
    inputs = {name: value for name, value in batch.items() if name not in ("labels", "idle_patches")}
    hidden_BSH = model.model(**inputs, mm_token_type_ids=kinds_BS, use_cache=False)[0]
    if "idle_patches" in batch:
        merge = config.vision_config.spatial_merge_size
        grid = torch.tensor([[1, merge, merge]], device=ids_BS.device)
        idle = model.model.visual(batch["idle_patches"].to(hidden_BSH.dtype), grid_thw=grid)
        features = [idle.pooler_output, *idle.deepstack_features]
        hidden_BSH = hidden_BSH + 0.0 * sum(feature.sum() for feature in features)
    return hidden_BSH


def loss(model: Network, batch: Batch) -> torch.Tensor:
    """Return the summed negative log-likelihood of the supervised tokens, float32, scalar.

    Only the hidden states that predict a supervised token pass the head: the logits of the prompt never exist.
    """
    hidden_BSH = _forward(model, batch)
    targets_BS = batch["labels"][:, 1:]
    chosen_BS = targets_BS != IGNORED
    logits_NV = model.lm_head(hidden_BSH[:, :-1][chosen_BS])
    # An empty selection sums to 0 and still reaches every parameter.
    return F.cross_entropy(logits_NV.float(), targets_BS[chosen_BS], reduction="sum")


def generate(model: Network, batch: Batch, plan: GenerationPlan, *, end_ids: Sequence[int]) -> torch.Tensor:
    """Return the new tokens_BS of a left-padded batch, greedy at temperature 0, padded after the end token."""
    ids_BS = batch["input_ids"]
    kinds_BS = torch.zeros_like(ids_BS)
    kinds_BS[ids_BS == model.config.image_token_id] = MODALITY["image"]
    kinds_BS[ids_BS == model.config.video_token_id] = MODALITY["video"]
    inputs = {name: value for name, value in batch.items() if name not in ("labels", "idle_patches")}
    sampled = {"do_sample": True, "temperature": plan.temperature} if plan.temperature > 0 else {"do_sample": False}
    out_BS = model.generate(
        **inputs,
        mm_token_type_ids=kinds_BS,
        max_new_tokens=plan.max_new_tokens,
        repetition_penalty=plan.repetition_penalty,
        eos_token_id=list(end_ids),
        pad_token_id=end_ids[-1],
        use_cache=True,
        **sampled,
    )
    return out_BS[:, ids_BS.shape[1] :]
