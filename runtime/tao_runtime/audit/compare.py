"""A model folder against its base: configuration, names, shapes, and which towers have changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tao_runtime.audit.codes import found, some
from tao_runtime.audit.folder import Folder, Json, shorten, table, text
from tao_runtime.audit.header import Tensor
from tao_runtime.audit.model import CONFIG, PROCESSORS, TIE, TOKENIZERS, has_template, text_config
from tao_runtime.audit.names import clean, prefix_shift, tower
from tao_runtime.audit.report import Tower
from tao_runtime.audit.shards import shards_of, vote
from tao_runtime.audit.values import Progress, Values, read_values
from tao_runtime.audit.weights import Weights
from tao_runtime.errors import Finding

# Buffers that some versions save and others compute; and the speculative head that the main loaders leave out.
_OPTIONAL = (".inv_freq", "position_ids", ".masked_bias")
_OPTIONAL_TOWERS = frozenset({"mtp"})


@dataclass(frozen=True, slots=True)
class Base:
    """What a folder is compared with."""

    folder: Folder
    config: Json
    weights: Weights


def check_config(folder: Folder, config: Json, base: Base) -> Iterator[Finding]:
    """Yield what the configuration and the files beside it should share with the base."""
    where = folder.where(CONFIG)
    if not config and base.config:
        yield found("config-missing", folder.here, f"no {CONFIG}", "the configuration of the model")
        return
    for key in ("model_type", "architectures", "_class_name"):
        own, want = config.get(key), base.config.get(key)
        if own is not None and want is not None and own != want:
            yield found(
                "architecture-differs", where, f"{key} {shorten(str(own))}", f"{shorten(str(want))}, the base's"
            )
    for level, own_level, base_level in (
        ("the top", config, base.config),
        ("text_config", table(config, "text_config"), table(base.config, "text_config")),
    ):
        own, want = own_level.get(TIE), base_level.get(TIE)
        if isinstance(want, bool) and own != want and own_level:
            yield found("tie-flag-changed", where, f"{TIE} at {level}: {shorten(str(own))}", f"{want}, as in the base")
    for code, names in (("tokenizer-missing", TOKENIZERS), ("processor-missing", PROCESSORS)):
        lost = base.folder.files.intersection(names) and not folder.files.intersection(names)
        if lost:
            yield found(code, folder.here, "none, and the base has one", some(sorted(base.folder.files & set(names))),
                        severity="error")  # fmt: skip
    if has_template(base.folder) and not has_template(folder):
        yield found("chat-template-missing", folder.here, "none, and the base has one", "the base's", severity="error")


@dataclass(frozen=True, slots=True)
class Matched:
    """The tensors of a folder by the names that the base gives them."""

    tensors: Mapping[str, Tensor]
    findings: tuple[Finding, ...] = ()


def match(folder: Folder, config: Json, weights: Weights, base: Base) -> Matched:
    """Map names to the base's, and judge what is missing, left over, or of another shape."""
    findings: list[Finding] = []
    own = {clean(name): tensor for name, tensor in weights.tensors.items()}
    known = {clean(name): tensor for name, tensor in base.weights.tensors.items()}
    strip, add = prefix_shift(own, known)
    if strip or add:
        what = f"begin with {strip!r}" if strip else f"lack {add!r}"
        want = f"names as in the base: {some(sorted(known), 1)}"
        other = sorted(shorten(name) for name in own if name not in known)
        findings.append(found("key-prefix", folder.here, f"{len(other)} names {what}: {some(other, 1)}", want))
        own = {(name if name in known else add + name.removeprefix(strip)): own[name] for name in own}
    findings.extend(_names(folder, config, own, known, whole=weights.is_whole))
    findings.extend(_shapes(folder, config, own, known))
    return Matched(own, tuple(findings))


def _names(
    folder: Folder, config: Json, own: Mapping[str, Tensor], known: Mapping[str, Tensor], *, whole: bool
) -> Iterator[Finding]:
    tied = config.get(TIE) is True or text_config(config).get(TIE) is True
    modules = {name.rpartition(".")[0] for name in own} if table(config, "quantization_config") else set()
    missing: dict[str, list[str]] = {}
    for name in known.keys() - own.keys():
        part = tower(name)
        optional = name.endswith(_OPTIONAL) or part in _OPTIONAL_TOWERS or (tied and name.endswith("lm_head.weight"))
        # A quantised weight has other names: q_proj.weight -> q_proj.weight_packed, q_proj.weight_scale.
        if not optional and name.rpartition(".")[0] not in modules:
            missing.setdefault(part, []).append(shorten(name))
    for part, names in sorted(missing.items()) if whole else ():
        saw = f"{part}: {len(names)} tensors of the base are not there: {some(sorted(names))}"
        yield found("tensor-missing", folder.here, saw, "every tensor of the base")
    extra = sorted(shorten(name) for name in own.keys() - known.keys() if not name.endswith(_OPTIONAL))
    if extra and not modules:
        saw = f"{len(extra)} tensors that the base does not have: {some(extra)}"
        yield found("tensor-unexpected", folder.here, saw, "the tensors of the base")


def _shapes(folder: Folder, config: Json, own: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> Iterator[Finding]:
    differ = {n: (own[n].shape, known[n].shape) for n in own.keys() & known.keys() if own[n].shape != known[n].shape}
    if table(config, "quantization_config"):  # what is quantised has shapes of its own; the rest is as it was
        scaled = {name.removesuffix("_scale") for name in own if name.endswith(".weight_scale")}
        differ = {name: pair for name, pair in differ.items() if name not in scaled}
    vocabulary = text_config(config).get("vocab_size")
    for name in [n for n in differ if n.endswith(("embed_tokens.weight", "lm_head.weight"))]:
        if differ[name][0][:1] == (vocabulary,) and differ[name][0][1:] == differ[name][1][1:]:
            del differ[name]  # the vocabulary was resized, and the configuration says so
    choices = {n: shards_of(a[0], b[0]) for n, (a, b) in differ.items() if a and b and a[1:] == b[1:]}
    voted = vote(choices.values())
    if voted.explained * 2 > len(differ):
        shards = [name for name, each in choices.items() if voted.number in each]
        name = min(shards)
        saw = (
            f"{len(shards)} of {len(own)} tensors have a part of their rows: one FSDP shard of {voted.text} was saved "
            f"as if it were whole; {shorten(name)} is {list(differ[name][0])}"
        )
        yield found("fsdp-shard", folder.here, saw, f"{list(differ[name][1])}, as in the base")
        differ = {n: pair for n, pair in differ.items() if n not in shards}
    for name, (saw_shape, want_shape) in sorted(differ.items()):
        yield found("shape-differs", folder.here, str(list(saw_shape)), f"{list(want_shape)}, as in the base",
                    pointer=shorten(name))  # fmt: skip


def read_both(
    own: Mapping[str, Tensor], base: Base, progress: Progress | None
) -> tuple[dict[str, Values], dict[str, Values]]:
    """Read every tensor of a folder and of its base, under the base's names."""
    first = {f"0{name}": tensor for name, tensor in own.items()}
    second = {f"1{clean(name)}": tensor for name, tensor in base.weights.tensors.items()}
    renamed = [Tensor(key, t.dtype, t.shape, t.file, t.begin, t.end) for key, t in {**first, **second}.items()]
    seen = read_values(renamed, progress=progress)
    return {n[1:]: v for n, v in seen.items() if n[0] == "0"}, {n[1:]: v for n, v in seen.items() if n[0] == "1"}


def towers(own: Mapping[str, Tensor], seen: Mapping[str, Values], base: Mapping[str, Values] | None) -> list[Tower]:
    """Return every tower with its digest, and whether it is the base's. The digest does not depend on sharding."""
    groups: dict[str, list[str]] = {}
    for name in own:
        groups.setdefault(tower(name), []).append(name)
    rows = []
    for part, names in sorted(groups.items()):
        digest = hashlib.sha256()
        for name in sorted(names):
            tensor = own[name]
            what = f"{name} {tensor.dtype} {list(tensor.shape)} {seen[name].sha256 if name in seen else ''}\n"
            digest.update(what.encode(errors="replace"))
        changed = [n for n in names if base is not None and n in base and base[n].sha256 != seen[n].sha256]
        new = [n for n in names if base is not None and n not in base]
        rows.append(
            Tower(
                name=part,
                tensors=len(names),
                parameters=sum(own[name].size for name in names),
                sha256=digest.hexdigest() if seen else None,
                state="unknown" if base is None else "changed" if changed or new else "unchanged",
                changed=len(changed) + len(new),
            )
        )
    return rows


def check_values(folder: Folder, seen: Mapping[str, Values], base: Mapping[str, Values] | None) -> Iterator[Finding]:
    """Yield what the bytes of a model say: numbers that are none, tensors that are zero only here, nothing changed."""
    for name, values in seen.items():
        if values.problem is not None:
            yield found("unreadable", folder.here, values.problem, "a tensor that can be read", pointer=shorten(name))
    broken = sorted(shorten(name) for name, values in seen.items() if not values.is_finite)
    if broken:
        saw = f"NaN or infinity in {len(broken)} of {len(seen)} tensors: {some(broken)}"
        yield found("non-finite", folder.here, saw, "finite weights")
    if base is None:
        return
    both = [name for name in seen if name in base]
    zero = sorted(shorten(n) for n in both if seen[n].sha256 and seen[n].is_zero and not base[n].is_zero)
    if zero:
        yield found("zero-tensor", folder.here, f"{len(zero)} tensors are all zero, and not in the base: {some(zero)}",
                    "weights")  # fmt: skip
    if len(both) == len(seen) and both and all(seen[name].sha256 == base[name].sha256 for name in both):
        saw = f"all {len(both)} tensors are byte for byte the base's"
        yield found("same-as-base", folder.here, saw, "weights that training has changed")


def check_expected(
    folder: Folder,
    pairs: tuple[Mapping[str, Values], Mapping[str, Values]],
    *,
    same: Sequence[str],
    other: Sequence[str],
) -> Iterator[Finding]:
    """Yield parts that should be the base's and are not, or the other way round. A part is a tower or a module."""
    seen, base = pairs
    for part in dict.fromkeys((*same, *other)):
        called = part or folder.here
        names = [name for name in seen if within(name, part)]
        changed = [name for name in names if name not in base or seen[name].sha256 != base[name].sha256]
        if not names:
            yield found(
                "tower-unknown", folder.here, f"no tensor under {shorten(part)}", "the name of a tower or module"
            )
        elif part in same and changed:
            saw = f"{called}: {len(changed)} of {len(names)} tensors have changed: {some(sorted(changed))}"
            yield found("tower-changed", folder.here, saw, "the base's, byte for byte")
        elif part in other and not changed:
            saw = f"{called}: all {len(names)} tensors are the base's"
            yield found("tower-unchanged", folder.here, saw, "tensors that training has changed")


def within(name: str, part: str) -> bool:
    """Tell whether a tensor or module lies in a part; everything does in the part without a name."""
    plain = name.removeprefix("model.")
    return not part or any(each == part or each.startswith(f"{part}.") for each in (name, plain))


def model_type(config: Json) -> str | None:
    return text(config, "model_type") or text(config, "_class_name")
