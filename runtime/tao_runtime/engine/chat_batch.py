"""Samples of video conversation as tensors: packed rows to train on, padded rows to generate from.

Tensor suffixes: B samples, S sequence, P patches, D patch values, T C H W frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from tao_runtime.data.facts import VisionGeometry
from tao_runtime.data.vision import MediaLayout
from tao_runtime.engine.families import Batch
from tao_runtime.engine.samples import Item

IGNORED: Final = -100  # label of a token that does not count, torch's convention


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
