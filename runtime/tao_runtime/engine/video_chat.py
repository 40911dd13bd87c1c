"""The wet half of video conversation, a Qwen3-VL network: collation, loss and generation on one device.

Tensor suffixes: B samples, S sequence, N supervised tokens, P patches, D patch values, T C H W frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributed import ProcessGroup
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from transformers import AutoConfig, AutoModelForImageTextToText

from tao_runtime.data.facts import VisionGeometry
from tao_runtime.data.vision import MediaLayout
from tao_runtime.engine.context_parallel.packed_row import RowPart, shared_attention
from tao_runtime.engine.context_parallel.ulysses import check_heads
from tao_runtime.engine.export.gate import problems_of
from tao_runtime.engine.export.layout import ExportLayout, carry
from tao_runtime.engine.families import Batch
from tao_runtime.engine.losses import summed_nll
from tao_runtime.engine.packed import SHARED, attend_segments, register
from tao_runtime.engine.samples import Item
from tao_runtime.engine.trial.inputs import text_ids
from tao_runtime.plan.model import GenerationPlan

IGNORED = -100  # label of a token that does not count, torch's convention
MODALITY = {"image": 1, "video": 2}  # mm_token_type_ids of transformers 5
Network = Any  # the library builds its networks from configurations: their attributes have no static types


def build(directory: Path, *, packed: bool) -> Network:
    """Return the network of a snapshot without weights, dtype float32; `packed` for training, else to generate."""
    config = AutoConfig.from_pretrained(directory)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    if packed:
        # After construction: a name that holds "flash" makes the constructor look for a kernel to download.
        model.config._attn_implementation = register()
        text_model = model.model.language_model
        text_model._deepstack_process = MethodType(_add_deepstack, text_model)
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


def original_name(parameter: str) -> str:
    """Return the name that upstream's keys mean: this network has one set of names."""
    return parameter


LEFT_OUT: tuple[str, ...] = ()


def library_name(original: str) -> str:
    """Return the name as it is: this network has one set of names."""
    return original


def part_of(parameter: str) -> str:
    """Return the part of the model that a parameter belongs to; the vision mergers are the projector."""
    if ".visual." in f".{parameter}":
        return "projector" if "merger" in parameter else "visual"
    return "lm_head" if parameter.startswith("lm_head") else "language_model"


def patchify(frames_TCHW: torch.Tensor, geometry: VisionGeometry) -> torch.Tensor:
    """Return uint8 patches [P, C x temporal x patch x patch] in the order of the library's processor.

    frames_TCHW: uint8, height and width multiples of patch x merge. An odd last frame is repeated.
    """
    patch, temporal, merge = geometry.patch_size, geometry.temporal_patch_size, geometry.merge_size
    if pad := -frames_TCHW.shape[0] % temporal:
        frames_TCHW = torch.cat([frames_TCHW, frames_TCHW[-1:].expand(pad, -1, -1, -1)])
    frames, channels, height, width = frames_TCHW.shape
    rows, columns = height // patch, width // patch
    patches = frames_TCHW.reshape(
        frames // temporal, temporal, channels, rows // merge, merge, patch, columns // merge, merge, patch
    )
    return patches.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(frames // temporal * rows * columns, -1)


def pixel_statistics(geometry: VisionGeometry) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation [D] of a patch's values, in [0, 255].

    The library fuses rescaling and normalisation the same way: one rounding less.
    """
    values = geometry.temporal_patch_size * geometry.patch_size**2  # of one channel
    mean_D, std_D = ((255.0 * torch.tensor(each)).repeat_interleave(values) for each in (geometry.mean, geometry.std))
    return mean_D, std_D


def normalise(patches_PD: torch.Tensor, mean_D: torch.Tensor, std_D: torch.Tensor) -> torch.Tensor:
    """Return float32 patches around 0; on the device, so that a quarter of the bytes travels there."""
    # In place: the largest tensor of a micro-batch is made once, not three times.
    return patches_PD.float().sub_(mean_D).div_(std_D)


def rope_positions(ids: torch.Tensor, visual: torch.Tensor, layouts: Sequence[MediaLayout], merge: int) -> torch.Tensor:
    """Return the positions [3, L] (temporal, vertical, horizontal) of a sample's tokens.

    Text counts up on all three axes. A temporal step of h x w tokens stands still in time and spreads over the other
    two; after it, counting goes on at max(h, w). Equals the library's `get_rope_index` of each sample.
    """
    # In numpy: a dozen tiny operations for each temporal step, which torch would make five times slower.
    out = np.tile(np.arange(len(ids)), (3, 1))
    where = np.flatnonzero(visual.numpy())
    place = behind = end = 0  # tokens of `where` used; by how much positions run behind token numbers
    for steps, rows, columns in (layout.grid_thw for layout in layouts):
        rows, columns = rows // merge, columns // merge
        down, across = np.repeat(np.arange(rows), columns), np.tile(np.arange(columns), rows)
        for _ in range(steps):
            start = int(where[place])
            out[:, end:start] -= behind
            first, end = start - behind, start + rows * columns
            out[0, start:end] = first
            out[1, start:end] = first + down
            out[2, start:end] = first + across
            behind += rows * columns - max(rows, columns)
            place += rows * columns
    out[:, end:] -= behind
    return torch.from_numpy(out)


def _empty_item() -> Item:
    """Return a sample of two tokens that trains on nothing: keeps a rank's collectives in step with the others."""
    nothing = torch.zeros(2, dtype=torch.bool)
    return Item(-1, torch.zeros(2, dtype=torch.long), nothing, nothing, (), ())


def collate(items: Sequence[Item], geometry: VisionGeometry) -> Batch:
    """Return a micro-batch as one packed row: ids_1S, positions_41S, the samples' offsets, all patches, targets_N.

    There is always at least one patch: a rank whose samples have no medium still runs the vision tower (on one grey
    token, with weight 0), or the other ranks would wait for it forever.
    """
    # Frames of one size side by side: attention takes them in one call.
    items = sorted(items, key=lambda item: [layout.tokens_per_step for layout in item.layouts]) or [_empty_item()]
    lengths = torch.tensor([len(item.ids) for item in items])
    labels = [torch.where(item.supervised, item.ids, IGNORED) for item in items]
    for label in labels:
        label[0] = IGNORED  # the first token of a sample is predicted by none
    positions = [rope_positions(item.ids, item.visual, item.layouts, geometry.merge_size) for item in items]
    targets = torch.cat(labels)[1:]
    text_S = torch.cat([torch.arange(len(item.ids)) for item in items])
    batch = {
        "input_ids": torch.cat([item.ids for item in items])[None],
        "position_ids": torch.cat([text_S[None], torch.cat(positions, 1)])[:, None],
        # Chosen here and not on the device: a mask there would make the host wait to learn how many there are.
        "predicts": (targets != IGNORED).nonzero().flatten(),
        "targets": targets[targets != IGNORED],
        "visual_at": torch.cat([item.visual for item in items]).nonzero().flatten(),
        "longest": int(lengths.max()),
        "offsets": F.pad(lengths.cumsum(0), (1, 0)).to(torch.int32),
    }
    return {**batch, **_media(items, geometry)}


def _media(items: Sequence[Item], geometry: VisionGeometry) -> Batch:
    """Return patches and grids of all media in sample order, or of one grey token."""
    frames = [each for item in items for each in item.frames]
    grids = [layout.grid_thw for item in items for layout in item.layouts]
    if not frames:
        side = geometry.patch_size * geometry.merge_size
        frames = [torch.full((geometry.temporal_patch_size, 3, side, side), 127, dtype=torch.uint8)]
    mean_D, std_D = pixel_statistics(geometry)
    return {
        "patches": torch.cat([patchify(each, geometry) for each in frames]),
        "pixel_mean": mean_D,
        "pixel_std": std_D,
        "grid_thw": torch.tensor(grids or [(1, geometry.merge_size, geometry.merge_size)]),
        "has_media": bool(grids),
    }


def share_sequence(model: Network, group: ProcessGroup) -> None:
    """Cut the language model's row over a group; the vision tower runs whole on every rank, on the same patches."""
    model.sequence_group = group
    for layer in model.model.language_model.layers:
        check_heads(layer.self_attn.config.num_attention_heads, group.size())
        setattr(layer.self_attn, SHARED, shared_attention(attend_segments, group))


def _hidden(model: Network, batch: Batch, row: RowPart) -> torch.Tensor:
    """Return the hidden states_LH of this rank's part of the language model's row."""
    body, places = model.model, batch["visual_at"]
    pixels_PD = normalise(batch["patches"], batch["pixel_mean"], batch["pixel_std"])
    seen = body.visual(pixels_PD, grid_thw=batch["grid_thw"], return_dict=True)
    embeds_SH = body.get_input_embeddings()(batch["input_ids"])[0]
    if batch["has_media"]:
        embeds_SH = embeds_SH.index_copy(0, places, seen.pooler_output.to(embeds_SH.dtype))
        blank_SH = torch.zeros_like(embeds_SH)
        deep = [blank_SH.index_copy(0, places, each.to(embeds_SH.dtype)) for each in seen.deepstack_features]
    else:
        embeds_SH = embeds_SH + 0.0 * sum(each.sum() for each in (seen.pooler_output, *seen.deepstack_features))
        deep = []
    return body.language_model(
        inputs_embeds=row.own(embeds_SH, 0)[None],
        position_ids=row.own(batch["position_ids"], 2),
        deepstack_visual_embeds=[row.own(each, 0)[None] for each in deep] or None,
        cu_seq_lens_q=row.offsets(batch["offsets"]),
        max_length_q=row.longest(batch["longest"]),
        use_cache=False,
    )[0][0]


def _add_deepstack(
    text_model: Network, hidden_BSH: torch.Tensor, masks: None, features_BSH: torch.Tensor
) -> torch.Tensor:
    """Add features that are laid out as the row is: by a mask, as the library does it, the host would wait."""
    return hidden_BSH + features_BSH


def loss(model: Network, batch: Batch) -> torch.Tensor:
    """Return the summed negative log-likelihood of the supervised tokens, float32, scalar.

    Only the hidden states that predict a supervised token pass the head: the logits of the prompt never exist.
    """
    row = RowPart(num_tokens(batch), getattr(model, "sequence_group", None))
    hidden_SH = row.whole(_hidden(model, batch, row))
    chosen_NH, targets_N = hidden_SH[row.share(batch["predicts"])], row.share(batch["targets"])
    return summed_nll(chosen_NH, targets_N, model.lm_head, vocabulary=model.config.text_config.vocab_size)


def weight(batch: Batch) -> int:
    """Return the number of supervised tokens."""
    return batch["targets"].numel()


def num_tokens(batch: Batch) -> int:
    """Return the length of the packed row."""
    return int(batch["input_ids"].shape[1])


def _finish_export(base: Path, folder: Path, dtype: torch.dtype) -> None:
    carry(base, folder)
    config = AutoConfig.from_pretrained(base)
    config.dtype = dtype
    config.save_pretrained(folder)


def _reload(folder: Path, dtype: torch.dtype) -> tuple[nn.Module, list[str]]:
    loaded: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    model, info = loaded
    return model, problems_of(model, info)


BROKEN = 1.5  # nobody wants half as much again as a uniform guess
EXPORT = ExportLayout("transformers", "model", _finish_export, _reload, adapter_task="CAUSAL_LM")


def chance_loss(model: Network, batch: Batch) -> float:
    """Return ln(vocabulary) per supervised token: a uniform guess. 151,936 tokens -> 11.93."""
    return weight(batch) * math.log(model.config.text_config.vocab_size)


def fresh_parameters(model: Network) -> dict[str, torch.Tensor]:
    """Return nothing: a base holds every parameter."""
    return {}


def disturb(batch: Batch) -> Batch | None:
    """Return the batch with every pixel half the range away, whatever it was: also grey ones change."""
    return {**batch, "patches": batch["patches"] ^ 128} if batch["has_media"] else None


def trial_arguments(network: Network, generator: torch.Generator) -> tuple[Batch, str]:
    """Return arguments of a forward, and what they are: text around a picture of four tokens."""
    config, vision = network.config, network.config.vision_config
    merge = vision.spatial_merge_size
    values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    text = text_ids(config, generator, 8)
    picture = torch.full((1, 4), config.image_token_id)
    ids_BS = torch.cat([text[:, :4], picture, text[:, 4:]], dim=1)
    arguments = {
        "input_ids": ids_BS,
        "attention_mask": torch.ones_like(ids_BS),
        "mm_token_type_ids": (ids_BS == config.image_token_id) * MODALITY["image"],
        "pixel_values": torch.randn(4 * merge**2, values, generator=generator),
        "image_grid_thw": torch.tensor([(1, 2 * merge, 2 * merge)]),
    }
    return arguments, "8 tokens of text and a picture"


def collate_prompts(items: Sequence[Item], geometry: VisionGeometry) -> Batch:
    """Return prompts as left-padded rows for generation: ids_BS, mask_BS, patches of videos and images apart."""
    longest = max(len(item.ids) for item in items)
    ids_BS = torch.stack([F.pad(item.ids, (longest - len(item.ids), 0)) for item in items])
    mask_BS = torch.stack([F.pad(torch.ones_like(item.ids), (longest - len(item.ids), 0)) for item in items])
    batch = {"input_ids": ids_BS, "attention_mask": mask_BS}
    media = [(layout, frames) for item in items for layout, frames in zip(item.layouts, item.frames, strict=True)]
    for kind, pixels, grid in (
        ("video", "pixel_values_videos", "video_grid_thw"),
        ("image", "pixel_values", "image_grid_thw"),
    ):
        chosen = [(layout, frames) for layout, frames in media if layout.kind == kind]
        if chosen:
            batch[pixels] = normalise(
                torch.cat([patchify(frames, geometry) for _, frames in chosen]), *pixel_statistics(geometry)
            )
            batch[grid] = torch.tensor([layout.grid_thw for layout, _ in chosen])
    return batch


def generate(model: Network, batch: Batch, plan: GenerationPlan, *, end_ids: Sequence[int]) -> torch.Tensor:
    """Return the new tokens_BS of a left-padded batch, greedy at temperature 0, padded after the end token."""
    ids_BS = batch["input_ids"]
    kinds_BS = torch.zeros_like(ids_BS)
    kinds_BS[ids_BS == model.config.image_token_id] = MODALITY["image"]
    kinds_BS[ids_BS == model.config.video_token_id] = MODALITY["video"]
    sampled = {"do_sample": True, "temperature": plan.temperature} if plan.temperature > 0 else {"do_sample": False}
    out_BS = model.generate(
        **batch,
        mm_token_type_ids=kinds_BS,
        max_new_tokens=plan.max_new_tokens,
        repetition_penalty=plan.repetition_penalty,
        eos_token_id=list(end_ids),
        pad_token_id=end_ids[-1],
        use_cache=True,
        **sampled,
    )
    return out_BS[:, ids_BS.shape[1] :]
