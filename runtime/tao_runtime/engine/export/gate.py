"""What must be true of an export before it counts: the audit of its files, and what the library makes of them."""

from __future__ import annotations

import gc
import importlib
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import nn

from tao_runtime.audit import audit
from tao_runtime.audit.names import tower
from tao_runtime.audit.report import AuditReport, Tower
from tao_runtime.data.snapshot import PIPELINE
from tao_runtime.engine import adapter
from tao_runtime.engine.export.layout import ExportLayout
from tao_runtime.engine.families import WetFamily
from tao_runtime.engine.gates.fingerprint import checksum
from tao_runtime.engine.gates.verdicts import listed
from tao_runtime.errors import Finding, Fix

# What the libraries raise for files that they cannot use.
UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError, SafetensorError)
AGAIN = Fix(text="export again, and look at the free disk space; the checkpoint is as it was")


@dataclass(frozen=True, slots=True)
class Written:
    """What was meant to be written, to be compared with what is read back."""

    sums: dict[str, int] = field(default_factory=dict)  # tensor -> checksum of its bits
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True, slots=True)
class Judged:
    """What the gate found, and the towers that the audit measured."""

    findings: tuple[Finding, ...]
    towers: tuple[Tower, ...] = ()
    cast: bool = False  # the base keeps its tensors in another type: towers cannot be compared with it bit by bit


def judge_model(
    folder: Path, base: Path | None, layout: ExportLayout, written: Written, trained: Collection[str]
) -> Judged:
    """Audit a model against its base, and load it with its library. `trained`: names of what training may change."""
    inside, beside = folder / layout.network, None if base is None else base / layout.network
    if beside is not None and not any(beside.glob("*.safetensors")):
        beside = None  # in torch's distributed layout: its towers are not compared
    changed = {tower(name) for name in trained}
    cast = beside is not None and base_dtype(beside) != written.dtype
    frozen = () if cast or beside is None else sorted({tower(name) for name in written.sums} - changed)
    report = audit(inside, base=beside, values=True, expect_unchanged=frozen)
    findings = [*errors(report)]
    if layout.network and (folder / PIPELINE).is_file():
        findings += errors(audit(folder, values=False))  # the other components are the base's own files
    if not findings:
        findings += reloaded(folder, layout, written)
    towers = next((part.towers for part in report.parts if part.towers), ())
    return Judged(tuple(findings), towers, cast)


def judge_adapter(folder: Path, base: Path, family: WetFamily, written: Written) -> Judged:
    """Audit an adapter against its base, and let peft put it on the family's network."""
    inside = base / family.EXPORT.network
    report = audit(folder, base=inside, values=True)
    findings = [*errors(report)]
    if not findings:
        findings += _peft(folder, inside, family, written)
    return Judged(tuple(findings))


def errors(report: AuditReport) -> list[Finding]:
    """Return what an audit calls an error."""
    return [finding for finding in report.findings if finding.severity == "error"]


def base_dtype(folder: Path) -> torch.dtype | None:
    """Return the type that most of a base's first file has; None if there is no file."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    with safe_open(files[0], framework="pt") as tensors:
        names = list(tensors.keys())
        return max((tensors.get_tensor(name) for name in names[:8]), key=lambda value: value.numel()).dtype


def reloaded(folder: Path, layout: ExportLayout, written: Written) -> Iterator[Finding]:
    """Load with the library, and compare every parameter bit by bit with what was meant to be written."""
    quiet()
    try:
        model, problems = layout.reload(folder, written.dtype)
    except UNREADABLE as error:
        yield _finding("reload", folder, f"{layout.library} cannot load it: {_first_line(error)}", "a folder it loads")
        return
    if problems:
        yield _finding("reload", folder, listed(problems), f"what {layout.library} loads without remark")
    yield from _compare(folder, dict(model.named_parameters()), written)
    del model
    gc.collect()


def _compare(folder: Path, found: Mapping[str, torch.Tensor], written: Written) -> Iterator[Finding]:
    missing, extra = sorted(written.sums.keys() - found.keys()), sorted(found.keys() - written.sums.keys())
    if missing:
        yield _finding("reload", folder, f"not in the loaded model: {listed(missing)}", "every tensor that was written")
    if extra:
        yield _finding("reload", folder, f"loaded, and never written: {listed(extra)}", "the tensors of the run only")
    other = [
        name
        for name, want in written.sums.items()
        if name in found and (found[name].is_meta or int(checksum(found[name])) != want)
    ]
    if other:
        saw = f"{len(other)} of {len(written.sums)} tensors have other bits when loaded: {listed(other)}"
        yield _finding("reload", folder, saw, "the bits that were written")


def _peft(folder: Path, base: Path, family: WetFamily, written: Written) -> Iterator[Finding]:
    """Let peft load the adapter onto a network without memory: only the adapter's own tensors are read."""
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict  # noqa: PLC0415 - only where adapters are
    from peft.utils.save_and_load import load_peft_weights, set_peft_model_state_dict  # noqa: PLC0415

    with init_empty_weights(include_buffers=False):
        model = family.build(base, packed=False)
    quiet()
    try:
        adapted = PeftModel(model, PeftConfig.from_pretrained(folder), low_cpu_mem_usage=True)
        # What `from_pretrained` runs; it would move the adapter to where the base is, which has no memory here.
        for name, module in adapted.named_modules():
            if name.endswith((f".{adapter.ADAPTER}", f".modules_to_save.{adapter.ADAPTER}")):
                module.to_empty(device="cpu")
        set_peft_model_state_dict(adapted, load_peft_weights(str(folder), "cpu"))
    except UNREADABLE as error:
        yield _finding("reload", folder, f"peft cannot load it: {_first_line(error)}", "an adapter of this base")
        return
    state: Mapping[str, torch.Tensor] = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    yield from _compare(folder, state, written)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _finding(rule: str, where: Path, saw: str, want: str) -> Finding:
    return Finding(rule=f"export/{rule}", severity="error", where=str(where), saw=saw, want=want, fix=AGAIN)


def quiet() -> None:
    """Keep the libraries' own bars and remarks off the terminal: what they find wrong is a finding here."""
    for library in {"diffusers", "transformers"}.intersection(sys.modules):
        logging = importlib.import_module(f"{library}.utils.logging")
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # peft 0.21 on transformers 5.23


def problems_of(model: nn.Module, info: Mapping[str, object]) -> list[str]:
    """Return what a library's own report of a load says is not right."""
    said = []
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        names = sorted(str(each) for each in info.get(key) or ())  # type: ignore[attr-defined]
        said += [f"{key}: {listed(names)}"] if names else []
    return said
