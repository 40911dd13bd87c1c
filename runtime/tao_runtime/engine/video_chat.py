"""The wet half of video conversation, a Qwen3-VL network: the network, its loss and its answers, on one device.

Tensor suffixes: B samples, S sequence, N supervised tokens, P patches, D patch values, T C H W frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed import ProcessGroup
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from transformers import AutoConfig, AutoModelForImageTextToText

from tao_runtime.data.facts import VisionGeometry
from tao_runtime.engine.chat_batch import collate_prompts, normalise
from tao_runtime.engine.chat_source import ChatSource, open_source
from tao_runtime.engine.context_parallel.packed_row import RowPart, shared_attention
from tao_runtime.engine.context_parallel.ulysses import check_heads
from tao_runtime.engine.export.gate import problems_of
from tao_runtime.engine.export.layout import ExportLayout, carry
from tao_runtime.engine.families import Batch, ChatFamily
from tao_runtime.engine.losses import summed_nll
from tao_runtime.engine.packed import SHARED, attend_segments, register
from tao_runtime.engine.samples import Item
from tao_runtime.engine.trial.inputs import text_ids
from tao_runtime.engine.weights import LoadReport, Snapshot
from tao_runtime.errors import RunError
from tao_runtime.plan.model import GenerationPlan, TrainPlan

if TYPE_CHECKING:
    from tao_runtime.engine.dist import World

MODALITY = {"image": 1, "video": 2}  # mm_token_type_ids of transformers 5
Network = Any  # the library builds its networks from configurations: their attributes have no static types


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


def _finish_export(base: Path, folder: Path, dtype: torch.dtype) -> None:
    carry(base, folder)
    config = AutoConfig.from_pretrained(base)
    config.dtype = dtype
    config.save_pretrained(folder)


def _reload(folder: Path, dtype: torch.dtype) -> tuple[nn.Module, list[str]]:
    loaded: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    model, info = loaded
    return model, problems_of(model, info)


class VideoChat(ChatFamily):
    """What every family of this network is to the engine; it adds what its largest micro-batch is."""

    LEFT_OUT: tuple[str, ...] = ()
    BROKEN = 1.5  # nobody wants half as much again as a uniform guess
    EXPORT = ExportLayout("transformers", "model", _finish_export, _reload, adapter_task="CAUSAL_LM")

    def build(self, directory: Path, *, packed: bool) -> Network:
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

    def blocks(self, model: Network) -> list[nn.Module]:
        """Return the vision blocks, then the decoder layers."""
        return [*model.model.visual.blocks, *model.model.language_model.layers]

    def original_name(self, parameter: str) -> str:
        """Return the name that upstream's keys mean: this network has one set of names."""
        return parameter

    def library_name(self, original: str) -> str:
        """Return the name as it is: this network has one set of names."""
        return original

    def part_of(self, parameter: str) -> str:
        """Return the part of the model that a parameter belongs to; the vision mergers are the projector."""
        if ".visual." in f".{parameter}":
            return "projector" if "merger" in parameter else "visual"
        return "lm_head" if parameter.startswith("lm_head") else "language_model"

    def share_sequence(self, model: Network, group: ProcessGroup) -> None:
        """Cut the language model's row over a group; the vision tower runs whole on every rank, on the same patches."""
        model.sequence_group = group
        for layer in model.model.language_model.layers:
            check_heads(layer.self_attn.config.num_attention_heads, group.size())
            setattr(layer.self_attn, SHARED, shared_attention(attend_segments, group))

    def fresh_parameters(self, model: Network) -> dict[str, torch.Tensor]:
        """Return nothing: a base holds every parameter."""
        return {}

    def open_source(self, plan: TrainPlan, run_dir: Path, label: str, world: World) -> ChatSource:
        """Open a data set of a run through its ledger."""
        return open_source(plan, run_dir, label)

    def loss(self, model: Network, batch: Batch) -> torch.Tensor:
        """Return the summed negative log-likelihood of the supervised tokens, float32, scalar.

        Only the hidden states that predict a supervised token pass the head: the logits of the prompt never exist.
        """
        row = RowPart(self.num_tokens(batch), getattr(model, "sequence_group", None))
        hidden_SH = row.whole(_hidden(model, batch, row))
        chosen_NH, targets_N = hidden_SH[row.share(batch["predicts"])], row.share(batch["targets"])
        return summed_nll(chosen_NH, targets_N, model.lm_head, vocabulary=model.config.text_config.vocab_size)

    def weight(self, batch: Batch) -> int:
        """Return the number of supervised tokens."""
        return batch["targets"].numel()

    def num_tokens(self, batch: Batch) -> int:
        """Return the length of the packed row."""
        return int(batch["input_ids"].shape[1])

    def chance_loss(self, model: Network, batch: Batch) -> float:
        """Return ln(vocabulary) per supervised token: a uniform guess. 151,936 tokens -> 11.93."""
        return self.weight(batch) * math.log(model.config.text_config.vocab_size)

    def disturb(self, batch: Batch) -> Batch | None:
        """Return the batch with every pixel half the range away, whatever it was: also grey ones change."""
        return {**batch, "patches": batch["patches"] ^ 128} if batch["has_media"] else None

    def trial_arguments(self, network: Network, generator: torch.Generator) -> tuple[Batch, str]:
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

    def collate_prompts(self, items: Sequence[Item], geometry: VisionGeometry) -> Batch:
        """Return prompts as left-padded rows."""
        return collate_prompts(items, geometry)

    def network_inputs(self, model: Network, batch: Batch) -> Batch:
        """Return a batch of prompts as the library's own forward wants it: with which tokens are of which kind."""
        ids_BS = batch["input_ids"]
        kinds_BS = torch.zeros_like(ids_BS)
        kinds_BS[ids_BS == model.config.image_token_id] = MODALITY["image"]
        kinds_BS[ids_BS == model.config.video_token_id] = MODALITY["video"]
        return {**batch, "mm_token_type_ids": kinds_BS}

    def next_logits(self, model: Network, batch: Batch) -> torch.Tensor:
        """Return what a model thinks of the first token of each answer: float32 logits_BV."""
        return model(**self.network_inputs(model, batch), logits_to_keep=1).logits[:, -1].float()

    def load_quantised(self, directory: Path, device: torch.device, dtype: torch.dtype) -> tuple[Network, LoadReport]:
        """Return a model from its compressed-tensors folder, by the library's own loader.

        Raises:
            RunError: a tensor is missing, left over or of another shape: the loader alone would only say so.
        """
        loader: Any = AutoModelForImageTextToText
        model, info = loader.from_pretrained(directory, dtype=dtype, output_loading_info=True)
        wrong = {kind: sorted(map(str, info[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
        if any(wrong.values()):
            some = {kind.replace("_", " "): ", ".join(names[:3]) for kind, names in wrong.items() if names}
            found = "; ".join(f"{kind}: {names}" for kind, names in some.items())
            raise RunError(f"{directory} does not load as it is: {found}")
        count = len(Snapshot(directory).names)
        return model.to(device).eval(), LoadReport(count, count, ())

    def generate(self, model: Network, batch: Batch, plan: GenerationPlan, *, end_ids: Sequence[int]) -> torch.Tensor:
        """Return the new tokens_BS of a left-padded batch, greedy at temperature 0, padded after the end token."""
        sampled = {"do_sample": True, "temperature": plan.temperature} if plan.temperature > 0 else {"do_sample": False}
        out_BS = model.generate(
            **self.network_inputs(model, batch),
            max_new_tokens=plan.max_new_tokens,
            repetition_penalty=plan.repetition_penalty,
            eos_token_id=list(end_ids),
            pad_token_id=end_ids[-1],
            use_cache=True,
            **sampled,
        )
        return out_BS[:, batch["input_ids"].shape[1] :]
