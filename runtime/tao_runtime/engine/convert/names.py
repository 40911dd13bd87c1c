"""Which tensor of a source is which parameter of a family's network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tao_runtime.engine.convert.source import Source
from tao_runtime.engine.export.stream import Form
from tao_runtime.engine.families import WetFamily
from tao_runtime.engine.gates.verdicts import listed
from tao_runtime.errors import Finding, Fix

LIVE, AVERAGED = "net.", "net_ema."  # upstream's second network holds the averages


@dataclass(frozen=True, slots=True)
class Match:
    """Parameters of the network by the names of a source."""

    names: Mapping[str, str]  # the library's name -> the source's
    left_out: tuple[str, ...]  # of the source, that are no parameters of this network, and known to be none
    findings: tuple[Finding, ...] = ()


def match(
    source: Source, family: WetFamily, network: Mapping[str, tuple[int, ...]], weights: Literal["live", "ema"]
) -> Match:
    """Return which tensor of a source each parameter of `network` (name -> shape) is. Every one is accounted for."""
    averaged = {name for name in source.forms if AVERAGED in name}
    chosen = {name for name in source.forms if (name in averaged) == (weights == "ema")}
    if weights == "ema" and not averaged:
        return Match({}, (), (_finding(source.path, f"no {AVERAGED} tensors", "averages beside the weights", "live"),))
    found: dict[str, str] = {}
    left_out, strange = sorted(set(source.forms) - chosen), []
    for name in sorted(chosen):
        library = name if name in network else family.library_name(name.replace(AVERAGED, LIVE, 1))
        if library in network and library not in found:
            found[library] = name
        elif any(part in name for part in family.LEFT_OUT):
            left_out.append(name)
        else:
            strange.append(name)
    return Match(found, tuple(left_out), tuple(_findings(source, network, found, strange)))


def _findings(
    source: Source, network: Mapping[str, tuple[int, ...]], found: Mapping[str, str], strange: list[str]
) -> Iterator[Finding]:
    fix = "name the family and the --like folder of this very model"
    missing = sorted(network.keys() - found.keys())
    if missing:
        saw = f"{len(missing)} of {len(network)} parameters are not there: {listed(missing)}"
        yield _finding(source.path, saw, "every parameter of the network", fix)
    if strange:
        saw = f"{len(strange)} tensors are no parameter of the network: {listed(strange)}"
        yield _finding(source.path, saw, "tensors of the network only", fix)
    for library, name in found.items():
        shape = source.forms[name].shape
        if shape != network[library]:
            yield _finding(source.path, f"{name} {list(shape)}", f"{list(network[library])} of {library}", fix)


def forms_of(source: Source, names: Mapping[str, str]) -> dict[str, Form]:
    """Return type and shape of each parameter, as the source has it."""
    return {library: source.forms[name] for library, name in names.items()}


def _finding(where: Path, saw: str, want: str, fix: str) -> Finding:
    text = Fix(text=fix if " " in fix else f"use --weights {fix}")
    return Finding(rule="convert/names", severity="error", where=str(where), saw=saw, want=want, fix=text)
