"""Gates of step 0: the base really loaded, and what is trained is what the spec says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from tao_runtime.engine.build import Built
from tao_runtime.engine.dist import World
from tao_runtime.engine.families import WetFamily
from tao_runtime.engine.gates.fingerprint import checksum, not_finite
from tao_runtime.engine.gates.verdicts import Verdicts, listed
from tao_runtime.engine.weights import Snapshot, clean_name
from tao_runtime.errors import RunError
from tao_runtime.plan.model import ModelPlan, TrainPlan

BLOCK = re.compile(r"^(.*?\.\d+)\.")  # model.layers.3.mlp.weight -> model.layers.3


def block_of(name: str) -> str | None:
    """Return the numbered block that a tensor is in, None outside of any."""
    match = BLOCK.match(name)
    return match[1] if match else None


def lost_blocks(missing: Iterable[str], expected: Iterable[str]) -> list[str]:
    """Return the blocks and towers of a model of which a snapshot has no tensor: a sentence for each."""
    have, lost = Counter[str](), Counter[str]()
    for counts, names in ((have, expected), (lost, missing)):
        for name in names:
            counts.update(_groups(name))
    gone = [group for group in have if lost[group] == have[group]]
    # A block of a tower that is gone as a whole says nothing new.
    top = [group for group in gone if not any(group.startswith(f"{other}.") for other in gone)]
    return [f"{group}: none of its {have[group]} tensors is in the snapshot" for group in top]


def _groups(name: str) -> set[str]:
    """Return the block of a tensor, and the first two levels of its name: model.visual."""
    parts = name.split(".")
    return {group for group in (block_of(name), ".".join(parts[:2]) if len(parts) > 3 else None) if group}


def strange_blocks(unused: Iterable[str], expected: Iterable[str]) -> list[str]:
    """Return blocks and towers of a snapshot that the model does not have: another configuration, or another model."""
    known = {group for name in expected for group in _groups(name)}
    strange = Counter(group for name in unused for group in _groups(name) if group not in known)
    return sorted(group for group in strange if not any(group.startswith(f"{other}.") for other in strange))


def ignored_by_library(model: nn.Module) -> list[re.Pattern[str]]:
    """Return the patterns of tensors that the library, too, leaves in the file (heads of other tasks)."""
    return [re.compile(pattern) for pattern in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()]


def gate_base(verdicts: Verdicts, built: Built, family: WetFamily, *, directory: Path, world: World) -> None:
    """Every base tensor is there (`load_base` raised otherwise), finite, and in memory as in the file. Collective."""
    expected = [clean_name(name) for name, _ in built.model.named_parameters()]
    patterns = ignored_by_library(built.model)
    left = set(built.load.unused) - set(built.skipped)
    unused = [name for name in sorted(left) if not any(pattern.search(name) for pattern in patterns)]
    problems = [
        f"the snapshot has {group} and the model has not; want a config.json that describes this snapshot. "
        f"Fix: restore the config.json of {directory}"
        for group in strange_blocks(unused, expected)
    ]
    problems += [
        f"{name}: {count} numbers of the base are not finite; want none. Fix: fetch {directory} again"
        for name, count in not_finite(built.model, world).items()
    ]
    verified, differing = reread(built, family, directory, world=world)
    problems += [
        f"{name}: in memory it is not what the file holds. Fix: report this fault; no key of the spec causes it"
        for name in differing
    ]
    verdicts.add(
        "base-weights",
        problems,
        expected=built.load.expected,
        matched=built.load.matched,
        reread=len(verified),
        unused=len(unused),
        unused_examples=list(unused[:5]),
        skipped=list(built.skipped),
    )
    if unused and not problems:
        verdicts.warn("base-weights", f"{len(unused)} tensors of {directory} are not used: {listed(unused)}")


@torch.no_grad()
def reread(built: Built, family: WetFamily, directory: Path, *, world: World) -> tuple[list[str], list[str]]:
    """Read the last tensor of each part again, and compare it bit by bit. Returns (names, those that differ).

    Loading is followed by tying, initialisation of adapters and moving: this sees what the model has in the end.
    """
    names = set(Snapshot(directory).names)
    last: dict[str, tuple[str, nn.Parameter]] = {}
    for name, value in built.model.named_parameters():
        plain = clean_name(name)
        if (
            plain in names and plain not in built.skipped and value.numel() <= 1 << 24
        ):  # gathered: small ones are enough
            last[family.part_of(plain)] = (plain, value)
    snapshot, differing = Snapshot(directory), []
    for plain, value in last.values():
        whole: torch.Tensor = value.full_tensor() if isinstance(value, DTensor) else value
        if int(checksum(whole)) != int(checksum(snapshot.read(plain).to(whole.dtype))):
            differing.append(plain)
    counts = world.sum([float(plain in differing) for plain, _ in last.values()])
    named = [plain for plain, _ in last.values()]
    return named, [plain for plain, count in zip(named, counts, strict=True) if count]


def intended(name: str, plan: ModelPlan, original: str, keys: Sequence[str] = ()) -> bool:
    """Return whether the spec wants a parameter trained: the adapter's keys, patterns, the map, then selected keys.

    `original`: its name in upstream's code, which the selected keys mean.
    """
    wanted = plan.lora is None or ".lora_" in name or bool(set(plan.lora.modules_to_save) & set(name.split(".")))
    wanted = wanted and not any(re.search(pattern, name) for pattern in plan.freeze_pattern)
    if plan.trainable_pattern:  # nothing else is trained
        wanted = any(re.search(pattern, name) for pattern in plan.trainable_pattern)
    for key, value in plan.trainable_map.items():
        if name == key or name.startswith(f"{key}."):
            wanted = value
    return wanted and (not keys or any(key in original for key in keys))


def gate_trainable(verdicts: Verdicts, built: Built, family: WetFamily, plan: TrainPlan) -> None:
    """What is trained is what the spec says; the manifest counts it for each part."""
    manifest: dict[str, list[int]] = {}
    problems, keys = [], plan.optimizer.keys_to_select
    for name, value in built.model.named_parameters():
        plain = clean_name(name)
        counts = manifest.setdefault(family.part_of(plain), [0, 0, 0, 0])  # tensors, parameters: trained, all
        for place, number in ((0, 1), (1, value.numel())):
            counts[place] += number if value.requires_grad else 0
            counts[place + 2] += number
        if value.requires_grad != intended(plain, plan.model, family.original_name(plain), keys):
            problems.append(f"{plain} is {'trained' if value.requires_grad else 'frozen'}; the spec wants the opposite")
    trained = sum(counts[1] for counts in manifest.values())
    verdicts.add(
        "trainable",
        [*problems, *contradictions(built, plan.model)],
        tensors=len(built.trainable),
        parameters=trained,
        of=sum(counts[3] for counts in manifest.values()),
        lora_tensors=len(built.added),
        parts={
            part: {"tensors": counts[0], "parameters": counts[1], "of_tensors": counts[2], "of_parameters": counts[3]}
            for part, counts in manifest.items()
        },
    )


def contradictions(built: Built, plan: ModelPlan) -> list[str]:
    """Return what two keys of the spec want differently: a module to save, or an adapter, that is frozen."""
    if plan.lora is None:
        return []
    names = [clean_name(name) for name, _ in built.model.named_parameters()]
    found = []
    for module in plan.lora.modules_to_save:
        of_module = [name for name in names if module in name.split(".")]
        frozen = [name for name in of_module if name not in set(built.trainable)]
        if frozen or not of_module:
            found.append(
                f"policy.lora.modules_to_save wants {module}, and {len(frozen)} of its {len(of_module)} tensors are "
                f"frozen by policy.freeze_pattern or policy.trainable_map ({listed(frozen)}); want one of the two. "
                "Fix: take it out of one of these keys"
            )
    adapters = [name for name in names if ".lora_" in name]
    frozen = [name for name in adapters if name not in set(built.trainable)]
    if adapters and len(frozen) == len(adapters):
        found.append("every LoRA layer is frozen by policy.freeze_pattern; want one that is trained. Fix: narrow it")
    return found


def explain_load(error: RunError, missing: Iterable[str], expected: Iterable[str]) -> RunError:
    """Return a load error that begins with the blocks and towers that are missing as a whole."""
    summary = lost_blocks(missing, expected)
    return RunError("\n  ".join([*summary, str(error)])) if summary else error
