"""`plan --fit`: does a run fit, and the nearest one that does."""

from __future__ import annotations

import json
from pathlib import Path

from tao_runtime.cli.prepare import prepare
from tao_runtime.errors import ExitCode, InputError
from tao_runtime.plan.costs import MemoryPlan
from tao_runtime.plan.make import fit_plan, network_config
from tao_runtime.plan.memory.fit import Fit, parse_devices
from tao_runtime.plan.memory.missing import wanted
from tao_runtime.plan.model import TrainPlan
from tao_runtime.preflight.prepare import Prepared

GIB = 2**30


def show_fit(spec: Path, overrides: list[str], text: str, *, as_json: bool) -> int:
    """Print the verdict; returns the exit code: 1 if the run does not fit as it is."""
    devices = parse_devices(text)
    prepared = prepare(spec, overrides, nproc=devices.count)
    found = fit_plan(prepared.spec, prepared.facts, prepared.plan, devices)
    if found is None:
        raise InputError(f"--fit: {prepared.spec.family} {prepared.spec.action} is not a training that can be fitted")
    print(found.model_dump_json(by_alias=True, indent=1) if as_json else "\n".join(_lines(found, _wanted(prepared))))
    return int(ExitCode.DONE if found.verdict in {"fits", "tight"} else ExitCode.FINDINGS)


def _wanted(prepared: Prepared) -> str:
    plan = prepared.plan
    return wanted(plan, network_config(prepared.spec, prepared.facts)) if isinstance(plan, TrainPlan) else ""


def _lines(found: Fit, lacking: str) -> list[str]:
    size = f"{found.devices.count} x {found.devices.memory_bytes / GIB:.1f} GiB"
    lines = [f"{found.verdict}: {size}" + (f", {_memory(found.memory)}" if found.memory else "")]
    if found.memory is None:
        lines.append(f"  want {lacking}")
    lines += [f"  {line}" for line in _parts(found.memory)] if found.memory else []
    near = found.nearest
    if near is not None:
        lines.append(f"nearest that {'fits' if near.verdict == 'fits' else 'fits tightly'}, {_memory(near.memory)}:")
        lines += [f"  {effect}" for effect in near.effects]
        lines.append("  " + " ".join(f"{key}={json.dumps(value)}" for key, value in near.overrides.items()))
    elif found.verdict == "does not fit":
        lines.append("nothing that was tried fits: use larger or more devices")
    return lines


def _memory(memory: MemoryPlan) -> str:
    total = memory.total
    return f"about {total.expected / GIB:.1f} GiB a process ({total.low / GIB:.1f} to {total.high / GIB:.1f})"


def _parts(memory: MemoryPlan) -> list[str]:
    rows = {
        "weights": memory.weights,
        "gradients": memory.gradients,
        "optimizer": memory.optimizer,
        "gathered weights": memory.gathered,
        "gradients before they are summed": memory.reducing,
        "averaged weights": memory.averages,
        "activations and logits": memory.activations.expected,
        "video tokenizer, while it encodes a clip": memory.tokenizer.expected if memory.tokenizer else 0,
        "in host memory": memory.on_host,
    }
    return [f"{value / GIB:8.2f} GiB  {name}" for name, value in rows.items() if value]
