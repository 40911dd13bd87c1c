"""What networks of diffusers share as the engine sees them: how they are built, their parts, and their export."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import CosmosTransformer3DModel
from torch import nn
from torch.distributed import ProcessGroup

from tao_runtime.audit.manifest import MANIFEST
from tao_runtime.data.facts import Facts
from tao_runtime.data.paths import link_or_copy
from tao_runtime.data.snapshot import NETWORK, SHARDED
from tao_runtime.engine.clip_setup import clip_setup
from tao_runtime.engine.clip_source import ClipSource
from tao_runtime.engine.context_parallel.collectives import gather
from tao_runtime.engine.context_parallel.dit import split_frames
from tao_runtime.engine.dit import supply_resize
from tao_runtime.engine.dit_batch import Objective, open_clips, rehearse_clips
from tao_runtime.engine.export.gate import problems_of
from tao_runtime.engine.export.layout import ExportLayout
from tao_runtime.engine.families import Batch, ClipFamily
from tao_runtime.errors import RunError
from tao_runtime.plan.diffusion import DiffusionPlan
from tao_runtime.plan.model import ClipsPlan, TrainPlan

if TYPE_CHECKING:
    from tao_runtime.engine.dist import World

STEM = "diffusion_pytorch_model"


def build_network(kind: Any, directory: Path) -> nn.Module:
    """Return a network of diffusers by the configuration of a folder, without weights.

    Raises:
        RunError: the folder holds another network.
    """
    config: Mapping[str, Any] = kind.load_config(directory)
    found, want = config.get("_class_name"), kind.__name__
    if found != want:
        raise RunError(f"{directory}/config.json: _class_name is {found}; want {want}")
    model: nn.Module = kind.from_config(config)
    return model


def share_clip(model: nn.Module, group: ProcessGroup) -> None:
    """Make a network that is called with a whole clip work on this rank's latent frames, and return the whole.

    A timestep for each frame and the mask of given frames are cut as the clip is.
    """
    split_frames(model, group)
    network: Any = model
    inner, ranks, rank = network.forward, group.size(), group.rank()

    def forward(hidden_states: torch.Tensor, timestep: torch.Tensor, **options: Any) -> tuple[torch.Tensor]:
        frames = hidden_states.shape[2]
        if frames % ranks:
            raise RunError(f"inference.context_parallel_size: {ranks}, and a clip has {frames} latent frames")

        def own(whole: torch.Tensor) -> torch.Tensor:
            return whole.chunk(ranks, dim=2)[rank].contiguous()

        mask = options.pop("condition_mask", None)
        part = inner(
            own(hidden_states),
            own(timestep) if timestep.ndim == 5 else timestep,
            condition_mask=None if mask is None else own(mask),
            **options,
        )[0]
        return (torch.cat(gather(part, group).unbind(), dim=2),)

    network.forward = forward


def sequence_part(model: nn.Module) -> tuple[int, int]:
    """Return (this rank's part, parts) of a clip's latent frames."""
    part: tuple[int, int] = getattr(model, "sequence_part", (0, 1))
    return part


def finish_export(base: Path, folder: Path, dtype: torch.dtype) -> None:
    """Put what a pipeline folder has beside its network's weights into an export: linked where the disk allows."""
    for file in sorted(path for path in base.rglob("*") if path.is_file()):
        place = file.relative_to(base)
        of_network = place.parts[0] == NETWORK and (STEM in place.name or place.parts[1] == SHARDED)
        if of_network or place.name == MANIFEST:
            continue
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(file, target)


def layout(kind: Any) -> ExportLayout:
    """Return how a pipeline lies whose network is of class `kind`."""
    return ExportLayout("diffusers", STEM, finish_export, partial(_reload, kind), network=NETWORK, carried=False)


def _reload(kind: Any, folder: Path, dtype: torch.dtype) -> tuple[nn.Module, list[str]]:
    model, info = kind.from_pretrained(folder / NETWORK, torch_dtype=dtype, output_loading_info=True)
    return model, problems_of(model, info)


class DiffusersFamily(ClipFamily):
    """What networks of diffusers have in common."""

    # A random network answers with a variance of its own, and a first step has few noise levels: 1.3 to 1.5 were seen.
    BROKEN = 2.0

    def fresh_parameters(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Return nothing: a base holds every parameter."""
        return {}

    def part_of(self, parameter: str) -> str:
        """Return the part of the network by its first name: transformer_blocks, patch_embed, time_embed, ..."""
        return parameter.partition(".")[0]

    def weight(self, batch: Batch) -> int:
        """Return the number of samples."""
        return int(batch["weight"])

    def num_tokens(self, batch: Batch) -> int:
        """Return the tokens of all clips."""
        return int(batch["num_tokens"])


class DitFamily(DiffusersFamily):
    """What the families of the network CosmosTransformer3DModel have in common."""

    NETWORKS = ("CosmosTransformer3DModel",)
    EXPORT = layout(CosmosTransformer3DModel)

    @abstractmethod
    def objective(self, plan: DiffusionPlan) -> Objective[Any]:
        """Return how noise is drawn and added, and which tensors of that a batch holds."""

    def open_source(self, plan: ClipsPlan, run_dir: Path, label: str, world: World) -> ClipSource:
        """Open a data set of clips. Collective."""
        setup = clip_setup(plan)
        return open_clips(setup, run_dir, label, world, objective=self.objective(setup.diffusion))

    def rehearse(self, plan: TrainPlan, facts: Facts) -> Batch:
        """Return a micro-batch of the plan, of zeros."""
        assert plan.diffusion is not None
        return rehearse_clips(plan, objective=self.objective(plan.diffusion))

    def build(self, directory: Path, *, packed: bool) -> nn.Module:
        """Return the network of a folder without weights, float32. Training and generation run the same one."""
        supply_resize()
        return build_network(CosmosTransformer3DModel, directory)

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        """Return the transformer blocks."""
        network: Any = model
        return list(network.transformer_blocks)

    def share_sequence(self, model: nn.Module, group: ProcessGroup) -> None:
        """Make the model work on this rank's latent frames of each clip."""
        split_frames(model, group)
        object.__setattr__(model, "sequence_part", (group.rank(), group.size()))

    def trial_arguments(self, network: Any, generator: torch.Generator) -> tuple[dict[str, Any], str]:
        """Return arguments of a forward, and what they are: two latent frames of noise, text states of noise."""
        supply_resize()
        config, patch = network.config, network.config.patch_size
        channels = config.out_channels  # one more goes in where a mask of given frames does
        frames, rows, columns = 2 * patch[0], 2 * patch[1], 2 * patch[2]
        latents = torch.randn(1, channels, frames, rows, columns, generator=generator)
        mask = torch.zeros(1, 1, frames, rows, columns) if config.in_channels > channels else None
        states = torch.randn(1, 4, config.text_embed_dim, generator=generator)
        arguments = {
            "hidden_states": latents,
            "timestep": torch.full((1,), 0.5),
            "encoder_hidden_states": states,
            "fps": 16,
            "condition_mask": mask,
            "padding_mask": torch.zeros(1, 1, rows, columns),
            "return_dict": False,
        }
        return arguments, "2 latent frames of noise"

    def disturb(self, batch: Batch) -> Batch | None:
        """Return the batch with what the network sees turned around, and what is asked of it unchanged."""
        return {**batch, "input_BCTHW": -batch["input_BCTHW"]} if batch["weight"] else None
