"""An adapter: its shapes against its configuration and its base, and whether anything in it was trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from tao_runtime.audit.codes import found, some
from tao_runtime.audit.folder import Folder, shorten
from tao_runtime.audit.header import Tensor
from tao_runtime.audit.lora import PEFT_PREFIX, LoraConfig, Module, by_layer, modules_of
from tao_runtime.audit.names import clean, nested
from tao_runtime.audit.shards import Choices, shards_at, shards_of, vote
from tao_runtime.audit.values import Values
from tao_runtime.audit.weights import Weights
from tao_runtime.errors import Finding

CONFIG = "adapter_config.json"


def check_adapter(
    folder: Folder, config: LoraConfig, weights: Weights, base: Mapping[str, Tensor], values: Mapping[str, Values]
) -> Iterator[Finding]:
    """Yield everything that is wrong with a LoRA. `base` and `values` are empty where they were not read."""
    modules, rest = modules_of(weights.tensors)
    whole = {name: tensor for name, tensor in base.items() if name.endswith(".weight")}
    by_module = {clean(name).removesuffix(".weight"): tensor for name, tensor in whole.items()}
    homes = _homes(modules, by_module)
    yield from _pairs(folder, modules)
    yield from _names(folder, config, modules, rest)
    if base:
        yield from _against_base(folder, modules, homes, by_module)
    yield from _shapes(folder, config, modules, homes)
    yield from _coverage(folder, config, modules, by_module)
    yield from _trained(folder, modules, values)


def _homes(modules: Mapping[str, Module], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weight of the base that each adapter is for, by its name or by its name without nesting."""
    plain = {nested(name): tensor for name, tensor in base.items()}
    found_at = {name: base.get(name, plain.get(nested(name))) for name in modules}
    return {name: tensor for name, tensor in found_at.items() if tensor is not None}


def _pairs(folder: Folder, modules: Mapping[str, Module]) -> Iterator[Finding]:
    """Yield halves without the other, and halves that do not fit together."""
    for name, module in modules.items():
        down, up = module.down, module.up
        if down is None or up is None:
            saw = f"lora_{'B' if down is None else 'A'} without lora_{'A' if down is None else 'B'}"
            yield found("pair-broken", folder.here, saw, "both", pointer=shorten(name))
        elif len(down.shape) < 2 or len(up.shape) < 2:
            if down.size and up.size:
                saw = f"lora_A {list(down.shape)}, lora_B {list(up.shape)}"
                yield found("pair-broken", folder.here, saw, "matrices", pointer=shorten(name))
        # What a shard of A alone explains is told once, by `fsdp-shard` or `rank-mismatch`.
        elif up.shape[1] != down.shape[0] and not shards_of(down.shape[0], up.shape[1]) and down.size:
            saw = f"lora_A {list(down.shape)}, lora_B {list(up.shape)}"
            yield found("pair-broken", folder.here, saw, "the same rank in both", pointer=shorten(name))


def _names(folder: Folder, config: LoraConfig, modules: Mapping[str, Module], rest: list[str]) -> Iterator[Finding]:
    """Yield names that peft will not look for."""
    if config.r is not None and folder.files.intersection({CONFIG}):
        tensors = [t.name for module in modules.values() for t in (module.down, module.up) if t is not None]
        bare = [shorten(name) for name in tensors if not clean(name).startswith(PEFT_PREFIX)]
        if bare:
            saw = f"{len(bare)} of {len(tensors)} names lack {PEFT_PREFIX!r}: {some(bare, 1)}"
            yield found("key-prefix", folder.here, saw, "names as peft saves them")
    known = {"embed_tokens", "lm_head", *(name.split(".")[-1] for name in config.saved)}
    marks = (".bias", "lora_magnitude_vector", "token_adapter", ".alpha", "trainable_tokens_delta")
    extra = [shorten(n) for n in rest if not known & set(n.split(".")) and not any(mark in n for mark in marks)]
    if extra:
        yield found("adapter-extra", folder.here, f"{len(extra)} tensors: {some(extra)}", "adapters, modules_to_save")


def _against_base(
    folder: Folder, modules: Mapping[str, Module], homes: Mapping[str, Tensor], base: Mapping[str, Tensor]
) -> Iterator[Finding]:
    """Yield adapters whose module is not in the base, or is there under another name only."""
    lost = sorted(shorten(name) for name in modules if name not in homes)
    if lost:
        saw = f"{len(lost)} of {len(modules)} modules are not in the base: {some(lost)}"
        yield found("adapter-unmatched", folder.here, saw, "modules of the base")
    renamed = sorted(shorten(name) for name in homes if name not in base)
    if renamed:
        saw = f"{len(renamed)} modules have another prefix than the base's files: {some(renamed, 1)}"
        yield found("adapter-renamed", folder.here, saw, some(sorted(base), 1))


def _shapes(
    folder: Folder, config: LoraConfig, modules: Mapping[str, Module], homes: Mapping[str, Tensor]
) -> Iterator[Finding]:
    """Yield wrong ranks and dimensions; those that one shard of N explains as one finding that names N."""
    wrong: list[tuple[str, str, str, str, Choices]] = []  # code, module, saw, want, N
    count = 0
    for name, module in modules.items():
        rank_wanted = config.rank_of(name)
        home = homes.get(name)
        for side, tensor in (("A", module.down), ("B", module.up)):
            if tensor is None or len(tensor.shape) < 2 or not tensor.size:
                continue
            count += 1
            rank = tensor.shape[0] if side == "A" else tensor.shape[1]
            fits = rank_wanted is None or rank == rank_wanted or (config.has_parameters and rank % rank_wanted == 0)
            if not fits and rank_wanted is not None:
                shards = shards_of(rank, rank_wanted) if side == "A" else {}
                saw = f"lora_{side} of rank {rank}"
                wrong.append(("rank-mismatch", name, saw, f"{rank_wanted} of {CONFIG}", shards))
            dim, full = _dimension(config, module, side, tensor, home)
            if full is not None and dim != full:
                shards = shards_of(dim, full) if side == "B" else {}
                saw = f"lora_{side} {list(tensor.shape)}"
                wrong.append(("adapter-shape", name, saw, f"{full} of the base's {list(home.shape if home else ())}",
                              shards))  # fmt: skip
    voted = vote(each[4] for each in wrong)
    if voted.explained * 4 > count:  # A alone is half of all matrices
        sharded = [each for each in wrong if voted.number in each[4]]
        _, name, saw, want, _ = sharded[0]
        part = f"{len(sharded)} of {count} matrices have a part of their rows: one FSDP shard of {voted.text} was saved"
        yield found("fsdp-shard", folder.here, f"{part} as if it were whole; {shorten(name)} has {saw}", want)
        wrong = [each for each in wrong if voted.number not in each[4]]
    for code, name, saw, want, _ in wrong:
        yield found(code, folder.here, saw, want, pointer=shorten(name))


def _dimension(
    config: LoraConfig, module: Module, side: str, tensor: Tensor, home: Tensor | None
) -> tuple[int, int | None]:
    """Return the outer dimension of a matrix, and what the base's weight [out, in, ...] asks for."""
    dim = tensor.shape[1] if side == "A" else tensor.shape[0]
    if home is None or len(home.shape) != len(tensor.shape) or config.has_parameters or home.dtype[0] not in "FB":
        return dim, None
    out, into = home.shape[:2]
    if module.is_embedding or config.transposed:
        out, into = into, out
    return dim, into if side == "A" else out


def _coverage(
    folder: Folder, config: LoraConfig, modules: Mapping[str, Module], base: Mapping[str, Tensor]
) -> Iterator[Finding]:
    """Yield targets and layers without an adapter."""
    plain = {nested(name) for name in modules}
    expected = [name for name, tensor in base.items() if len(tensor.shape) > 1 and config.wants(name)]
    for target in config.targets:
        if any(name == target or name.endswith(f".{target}") for name in modules):
            continue
        unknown = bool(base) and not any(name == target or name.endswith(f".{target}") for name in base)
        yield found("target-missing", folder.here, f"no adapter for {shorten(target)}", f"every target of {CONFIG}",
                    severity="warning" if unknown else None)  # fmt: skip
    if config.has_exclusions:
        return
    if expected and config.layers is None:
        lost = sorted(shorten(name) for name in expected if nested(name) not in plain)
        if lost:
            saw = f"{len(lost)} of {len(expected)} targets of the base have no adapter: {some(lost)}"
            yield found("adapter-layer-missing", folder.here, saw, "an adapter for every target")
        return
    yield from _holes(folder, config, modules)


def _holes(folder: Folder, config: LoraConfig, modules: Mapping[str, Module]) -> Iterator[Finding]:
    """Yield layers that lack what their neighbours have; asked of the adapter alone."""
    groups = by_layer(modules)
    lists: dict[str, set[int]] = {}
    for (prefix, parent), leaves in groups.items():
        union = set().union(*leaves.values())
        lists.setdefault(prefix, set()).update(union)
        for leaf, numbers in leaves.items():
            lost = sorted(union - numbers)
            if lost:
                saw = f"{prefix}.N.{parent}.{leaf}: no adapter in layers {some([str(number) for number in lost])}"
                yield found("adapter-layer-missing", folder.here, saw, "as in the other modules of these layers")
    for prefix, numbers in lists.items():
        full = config.layers if config.layers is not None else set(range(min(numbers), max(numbers) + 1))
        lost = sorted(full - numbers) if config.layers is None or len(lists) == 1 else []
        # Models whose layers alternate have an adapter in every n-th: that is a pattern and no hole.
        if (lost and len(lost) * 5 <= len(full)) or (lost and config.layers is not None):
            saw = f"{prefix}: no adapter in layers {some([str(number) for number in lost])}"
            yield found("adapter-layer-missing", folder.here, saw, "an adapter in every layer")


def _trained(folder: Folder, modules: Mapping[str, Module], values: Mapping[str, Values]) -> Iterator[Finding]:
    """Yield what only the values tell: nothing trained, shards of zeros, NaN."""
    for name, seen in values.items():
        if seen.problem is not None:
            yield found("unreadable", folder.here, seen.problem, "a tensor that can be read", pointer=shorten(name))
    broken = sorted(shorten(name) for name, seen in values.items() if not seen.is_finite)
    if broken:
        saw = f"NaN or infinity in {len(broken)} of {len(values)} tensors: {some(broken)}"
        yield found("non-finite", folder.here, saw, "finite weights")
    ups = {name: values[m.up.name] for name, m in modules.items() if m.up is not None and m.up.name in values}
    ups = {name: seen for name, seen in ups.items() if modules[name].up.size}  # type: ignore[union-attr]
    idle = sorted(shorten(name) for name, seen in ups.items() if seen.is_zero)
    if idle and len(idle) == len(ups):
        yield found("adapter-untrained", folder.here, f"all {len(ups)} lora_B are zero", "weights that were trained")
    elif idle:
        saw = f"{len(idle)} of {len(ups)} lora_B are zero: {some(idle)}"
        yield found("adapter-partly-untrained", folder.here, saw, "trained weights in every module")
    matrices = {t.name for module in modules.values() for t in (module.down, module.up) if t is not None}
    yield from _zero_rows(folder, {name: seen for name, seen in values.items() if name in matrices})


def _zero_rows(folder: Folder, values: Mapping[str, Values]) -> Iterator[Finding]:
    """Yield matrices with rows of zeros; those that one shard of N explains as one finding that names N."""
    rows = {name: seen.rows for name, seen in values.items() if seen.rows is not None and seen.rows.any()}
    partly = {name: alive for name, alive in rows.items() if not alive.all()}
    voted = vote(_zero_shards(alive) for alive in partly.values())
    if voted.number is not None and len(partly) * 2 >= len(rows) and voted.explained * 2 >= len(partly):
        saw = (
            f"in {len(partly)} of {len(rows)} matrices a part of the rows is set and the rest is zero: one FSDP "
            f"shard of {voted.text} was saved as if it were whole"
        )
        yield found("fsdp-shard", folder.here, saw, "rows from every shard")
    elif partly:
        name = min(partly)
        saw = f"{len(partly)} matrices; {int((~partly[name]).sum())} of {len(partly[name])} in {shorten(name)}"
        yield found("zero-rows", folder.here, saw, "rows with values")


def _zero_shards(alive: npt.NDArray[np.bool_]) -> Choices:
    """Return every N for which the rows that are not zero are just those of one shard of N."""
    indices = np.flatnonzero(alive)
    first, rows = int(indices[0]), int(indices[-1] - indices[0]) + 1
    return shards_at(first, rows, len(alive)) if len(indices) == rows else {}
