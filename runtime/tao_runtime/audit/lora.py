"""A LoRA as its files describe it: the configuration as values, and the matrices of each module."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tao_runtime.audit.folder import Json, number, table, text, texts
from tao_runtime.audit.header import Tensor
from tao_runtime.audit.names import clean

PEFT_PREFIX: Final = "base_model.model."
# peft's names, and those of kohya's scripts (lora_down, lora_up).
_MATRIX: Final = re.compile(
    r"^(?P<module>.+?)\.(?P<matrix>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_down|lora_up)"
    r"(?:\.(?!weight$|bias$)[^.]+)?(?:\.weight)?$"
)
_SIDE: Final = {"lora_A": "A", "lora_B": "B", "lora_embedding_A": "A", "lora_embedding_B": "B", "lora_down": "A",
                "lora_up": "B"}  # fmt: skip
# A regular expression from a file may take for ever: a quantified group that holds a quantifier, or too many of them.
_MAX_QUANTIFIERS, _MAX_PATTERN, _MAX_NAME = 24, 4000, 300


@dataclass(frozen=True, slots=True)
class Module:
    """What a LoRA adds to one module of the base."""

    name: str  # in the base, as the file has it
    down: Tensor | None = None  # A: [r, in, ...]
    up: Tensor | None = None  # B: [out, r, ...]
    is_embedding: bool = False

    @property
    def rank(self) -> int | None:
        return self.down.shape[0] if self.down is not None and self.down.shape else None


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """The parts of adapter_config.json that say what must be in the weights."""

    peft_type: str = "LORA"
    r: int | None = None
    rank_pattern: tuple[tuple[str, int], ...] = ()
    targets: tuple[str, ...] = ()  # names of modules; empty: a pattern, all linear layers, or not said
    pattern: str | None = None
    saved: tuple[str, ...] = ()  # modules that are stored whole
    layers: frozenset[int] | None = None
    has_exclusions: bool = False
    has_parameters: bool = False  # adapters on parameters inside modules: their rank is a multiple of r
    transposed: bool = False  # base weights are [in, out]

    def rank_of(self, module: str) -> int | None:
        """Return the rank of a module, as peft finds it: the first pattern that matches the end of its name."""
        for pattern, rank in self.rank_pattern:
            if matches(rf"(?:.*\.)?(?:{pattern})", module):
                return rank
        return self.r

    def wants(self, module: str) -> bool:
        """Tell whether a module of the base is a target."""
        if self.pattern is not None:
            return bool(matches(self.pattern, module))
        return any(module == name or module.endswith(f".{name}") for name in self.targets)


def lora_config(config: Json) -> LoraConfig:
    """Return a configuration's values; what has a wrong type counts as not said."""
    targets = config.get("target_modules")
    ranks = {name: rank for name, rank in table(config, "rank_pattern").items() if type(rank) is int and rank > 0}
    layers = config.get("layers_to_transform")
    layers = [layers] if type(layers) is int else layers
    whole = isinstance(layers, list) and layers and all(type(layer) is int for layer in layers)
    rank = number(config, "r")
    is_pattern = isinstance(targets, str) and targets != "all-linear"
    return LoraConfig(
        peft_type=text(config, "peft_type") or "LORA",
        r=rank if rank is not None and rank > 0 else None,
        rank_pattern=tuple(ranks.items()),
        targets=texts(targets) if isinstance(targets, list) and "all-linear" not in targets else (),
        pattern=targets if is_pattern else None,  # type: ignore[arg-type]
        saved=texts(config.get("modules_to_save")),
        layers=frozenset(layers) if whole else None,  # type: ignore[arg-type]
        has_exclusions=bool(config.get("exclude_modules") or config.get("layers_pattern")),
        has_parameters=bool(config.get("target_parameters")),
        transposed=config.get("fan_in_fan_out") is True,
    )


def modules_of(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Module], list[str]]:
    """Return the modules of a LoRA by name, and the names of tensors that are none of its matrices."""
    modules: dict[str, Module] = {}
    rest = []
    for name, tensor in tensors.items():
        match = _MATRIX.match(clean(name)) if len(name) < 10 * _MAX_NAME else None
        if match is None:
            rest.append(name)
            continue
        key = match["module"].removeprefix(PEFT_PREFIX)
        before = modules.get(key, Module(key))
        is_embedding = "embedding" in match["matrix"]
        down, up = (tensor, before.up) if _SIDE[match["matrix"]] == "A" else (before.down, tensor)
        modules[key] = Module(key, down, up, is_embedding)
    return modules, rest


def matches(pattern: str, name: str) -> bool | None:
    """Match a pattern that came from a file against a whole name; None for one that is broken or might not end."""
    if len(pattern) > _MAX_PATTERN or len(name) > _MAX_NAME or not _ends(pattern):
        return None
    try:
        return re.fullmatch(pattern, name) is not None
    except (re.error, RecursionError, OverflowError):
        return None


def _ends(pattern: str) -> bool:
    """Tell whether matching is sure to end soon: no quantified group holds a quantifier, and there are few of them."""
    plain = re.sub(r"\[(?:\\.|[^\]\\])*\]", "x", re.sub(r"\\.", "x", pattern))
    stack, count = [False], 0
    for place, char in enumerate(plain):
        if char == "(":
            stack.append(False)
        elif char == ")":
            inner = stack.pop() if len(stack) > 1 else False
            if inner and plain[place + 1 : place + 2] in {"*", "+", "{"}:
                return False
            stack[-1] = stack[-1] or inner
        elif char in "*+{" and plain[place - 1 : place] != "(":
            stack[-1], count = True, count + 1
    return count <= _MAX_QUANTIFIERS


def by_layer(names: Iterable[str]) -> dict[tuple[str, str], dict[str, set[int]]]:
    """Group modules of numbered layers: (list of layers, parent in the layer) -> leaf -> numbers.

    `a.layers.3.self_attn.q_proj` is ("a.layers", "self_attn") -> "q_proj" -> {3}.
    """
    groups: dict[tuple[str, str], dict[str, set[int]]] = {}
    for name in names:
        match = re.match(r"^(.*?)\.(\d{1,5})\.(?:(.*)\.)?([^.]+)$", name)
        if match:
            group = groups.setdefault((match[1], match[3] or ""), {})
            group.setdefault(match[4], set()).add(int(match[2]))
    return groups
