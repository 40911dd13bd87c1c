"""Converting weights: every tensor is accounted for, read and written one by one, and read back before it counts."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from accelerate import init_empty_weights

from tao_runtime.audit.manifest import MANIFEST, Manifest, ManifestBase, ManifestTower, measure
from tao_runtime.audit.names import tower
from tao_runtime.data.paths import refuse_file
from tao_runtime.data.snapshot import SHARDED, network_folder, write_contents
from tao_runtime.engine.commits import write_atomically
from tao_runtime.engine.convert.names import Match, match
from tao_runtime.engine.convert.source import Source, open_source
from tao_runtime.engine.convert.towers import tower_digests
from tao_runtime.engine.dcp import DcpFolder, write_dcp
from tao_runtime.engine.export.gate import Judged, Written, judge_model
from tao_runtime.engine.export.stream import CODES, Form, TensorStream
from tao_runtime.engine.export.write import libraries, publish, temporary
from tao_runtime.engine.families import WetFamily, wet_family
from tao_runtime.engine.gates.fingerprint import checksum
from tao_runtime.engine.gates.verdicts import listed
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.run_dir import now
from tao_runtime.engine.weights import clean_name
from tao_runtime.errors import Finding, FindingsError, Fix, RunError

Layout = Literal["safetensors", "dcp"]
Names = Literal["library", "original"]


@dataclass(frozen=True, slots=True)
class Request:
    """What to convert, and into what."""

    source: Path
    family: str
    out: Path
    to: Layout = "safetensors"
    names: Names = "library"
    like: Path | None = None  # a folder of the library with configuration and companions; None: the source itself
    weights: Literal["live", "ema"] = "live"
    towers: Mapping[str, Path] = field(default_factory=dict)  # towers that come from elsewhere


@dataclass(frozen=True, slots=True)
class Pick:
    """One parameter: from which source, under which name there."""

    source: Source
    name: str

    @property
    def form(self) -> Form:
        return self.source.forms[self.name]

    def read(self) -> torch.Tensor:
        return self.source.read(self.name)


def convert(request: Request) -> Path:
    """Convert into the folder `request.out`; returns it.

    Raises:
        InputError: a source cannot be read. FindingsError: it is not this network, or what was written is wrong.
    """
    if request.out.exists():
        raise FindingsError([_finding("--out", f"{request.out} is there already", "a new folder", "name another")])
    refuse_file(request.out)
    sources = {"": open_source(request.source), **{name: open_source(path) for name, path in request.towers.items()}}
    like = request.like or next((each.folder for each in sources.values() if each.folder is not None), None)
    if like is None or not (network_folder(like) / "config.json").is_file():
        saw = f"{request.source} has no configuration of the network"
        want = "--like FOLDER: a released folder of this model, for configuration, tokenizer and other components"
        raise FindingsError([_finding("--like", saw, want, "name that folder")])
    family = wet_family(request.family)
    picks, notes = choose(request, sources, family, like)
    folder = temporary(request.out)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        write(request, family, like, picks, folder)
        manifest = _manifest(request, like, picks, notes, folder)
        write_atomically(folder / MANIFEST, manifest.model_dump_json(by_alias=True, indent=1) + "\n")
        publish(request.out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return request.out


def choose(
    request: Request, sources: Mapping[str, Source], family: WetFamily, like: Path
) -> tuple[dict[str, Pick], list[str]]:
    """Return where each parameter comes from, and what was left out of each source.

    Raises:
        FindingsError: a parameter is nowhere, a tensor is nothing, or a tower does not exist.
    """
    network = _network(family, network_folder(like))
    known = {tower(name) for name in network}
    findings = [
        _finding("--tower", name, ", ".join(sorted(known)), "name a tower of the network")
        for name in request.towers
        if name not in known
    ]
    picks: dict[str, Pick] = {}
    notes = []
    for name, source in sources.items():
        wanted = {key: shape for key, shape in network.items() if _owner(key, request.towers) == name}
        found = match(source, family, wanted, request.weights)
        # Of a source that gives one tower, the others are no surprise; nor is a tower that comes from elsewhere.
        findings += [each for each in found.findings if len(sources) == 1 or "no parameter" not in each.saw]
        picks.update({key: Pick(source, where) for key, where in found.names.items()})
        if left := _left_out(source, found):
            notes.append(f"{source.path}: {len(left)} tensors are left out: {listed(left)}")
    if findings:
        raise FindingsError(findings)
    return {name: picks[name] for name in network}, notes


def _left_out(source: Source, found: Match) -> list[str]:
    return sorted(set(source.forms) - set(found.names.values()))


def _owner(name: str, towers: Mapping[str, Path]) -> str:
    return tower(name) if tower(name) in towers else ""


def _network(family: WetFamily, folder: Path) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every parameter of the network of a folder."""
    with init_empty_weights(include_buffers=False):
        model = family.build(folder, packed=False)
    if (tie := getattr(model, "tie_weights", None)) is not None:
        tie()
    return {clean_name(name): tuple(value.shape) for name, value in model.named_parameters()}


def write(request: Request, family: WetFamily, like: Path, picks: Mapping[str, Pick], folder: Path) -> None:
    """Write the weights and what belongs beside them, and read all of it back."""
    layout = family.EXPORT
    rename = family.original_name if request.names == "original" else str
    named = {rename(name): pick for name, pick in picks.items()}
    forms = {name: pick.form for name, pick in named.items()}
    if len(named) != len(picks):
        raise RunError("two parameters have one name in upstream's code")  # the maps are exact: a fault of ours
    most = Counter(dict.fromkeys((torch.float32,), 0))
    for form in forms.values():
        most[form.dtype] += form.nbytes
    dtype = most.most_common(1)[0][0]
    layout.finish(like, folder, dtype)
    written = Written(dtype=dtype)
    inside = folder / layout.network
    with StepProgress("convert", len(named)) as progress:
        if request.to == "dcp":

            def read(name: str) -> torch.Tensor:
                value = named[name].read()
                written.sums[name] = int(checksum(value))
                progress.advance()
                return value

            write_dcp(inside / SHARDED, forms, read)
        else:
            stream = TensorStream(inside, layout.stem, forms)
            for name, pick in named.items():
                written.sums[name] = int(checksum(stream.write(name, pick.read())))
                progress.advance()
            stream.close()
    if request.to == "dcp":
        if request.names == "library":  # what load_path may name
            table = {name: (CODES[form.dtype], form.shape) for name, form in forms.items()}
            write_contents(inside / SHARDED, table)
        findings = _read_back(inside / SHARDED, written)
    else:
        findings = _judge(folder, family, written, mixed=len(most) > 2, original=request.names == "original").findings
    if findings:
        raise FindingsError(findings)


def _judge(folder: Path, family: WetFamily, written: Written, *, mixed: bool, original: bool) -> Judged:
    if original or mixed:  # names or types that the library does not take as they are: the files are read back
        source = open_source(folder)
        wrong = [name for name, want in written.sums.items() if int(checksum(source.read(name))) != want]
        return Judged(tuple(_wrong(folder, wrong)))
    return judge_model(folder, None, family.EXPORT, written, ())


def _read_back(folder: Path, written: Written) -> tuple[Finding, ...]:
    found = DcpFolder(folder)
    return tuple(
        _wrong(folder, [name for name, want in written.sums.items() if int(checksum(found.read(name))) != want])
    )


def _wrong(folder: Path, names: list[str]) -> list[Finding]:
    if not names:
        return []
    saw = f"{len(names)} tensors have other bits when read back: {listed(names)}"
    return [_finding(str(folder), saw, "the bits that were written", "convert again, and look at the free disk space")]


def _manifest(request: Request, like: Path, picks: Mapping[str, Pick], notes: list[str], folder: Path) -> Manifest:
    digests = tower_digests({name: (pick.form, pick.read) for name, pick in picks.items()})
    rows = []
    for name, (digest, tensors, parameters) in digests.items():
        origin = request.towers.get(name, request.source)
        rows.append(
            ManifestTower(
                name=name, tensors=tensors, parameters=parameters, sha256=digest, state="unchanged", source=str(origin)
            )
        )
    return Manifest(
        family=request.family,
        form="converted",
        target=f"{request.to}, {request.names} names",
        weights=request.weights,
        base=ManifestBase(path=str(request.source), weights_sha256=None),
        towers=tuple(rows),
        files=measure(folder),
        libraries=libraries(),
        notes=(*notes, f"configuration and components: {like}"),
        created_at=now(),
    )


def _finding(where: str, saw: str, want: str, fix: str) -> Finding:
    return Finding(rule="convert/request", severity="error", where=where, saw=saw, want=want, fix=Fix(text=fix))
