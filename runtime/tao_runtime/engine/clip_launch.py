"""The ledgers of a run on clips, and what only the launch can see of its base and its clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tao_runtime.data.commit import COMMIT
from tao_runtime.data.facts import Facts
from tao_runtime.data.snapshot import PIPELINE
from tao_runtime.errors import Finding, FindingsError, Fix
from tao_runtime.plan.clip_ledger import ClipLedger, make_clip_ledger
from tao_runtime.plan.clip_time import sample_flops
from tao_runtime.plan.model import TrainPlan, VideoEvaluatePlan, VideoInferencePlan


def clip_ledgers(plan: TrainPlan, facts: Facts) -> dict[str, ClipLedger]:
    """Return the ledger of every data set of clips that the plan reads, by label.

    Raises:
        FindingsError: the base is no pipeline folder.
    """
    assert plan.data.clips is not None
    ledgers = {
        "train": make_clip_ledger(
            plan.data.train, facts.datasets["train"], plan.data.clips, flops=sample_flops(plan, facts)
        )
    }
    if findings := list(_base(plan, facts)):
        raise FindingsError(findings)
    return ledgers


def held_out_ledgers(plan: VideoEvaluatePlan, facts: Facts) -> dict[str, ClipLedger]:
    """Return the ledger of the clips that are judged.

    Raises:
        FindingsError: a model is no pipeline folder, or the commit is none.
    """
    models = [("model.base_path", plan.model.base_path) if plan.model.base_path else ("model.path", plan.model.path)]
    models += [("model.baseline_path", plan.baseline.path)] if plan.baseline is not None else []
    findings = [each for where, folder in models for each in _no_pipeline(where, Path(folder))]
    if plan.commit is not None and not (Path(plan.commit) / COMMIT).is_file():
        saw, want = f"{plan.commit}: no {COMMIT}", "a commit of a training run: <run>/checkpoints/iter_..."
        fix = Fix(text="name a folder that has it; what has none was not saved whole")
        findings.append(Finding(rule="run/commit", severity="error", where="model.commit", saw=saw, want=want, fix=fix))
    if findings:
        raise FindingsError(findings)
    return {"eval": make_clip_ledger(plan.data, facts.datasets["eval"], plan.clips)}


def _no_pipeline(where: str, folder: Path) -> Iterator[Finding]:
    if not (folder / PIPELINE).is_file():
        fix = Fix(text="name the export of a run, or the folder of a released pipeline")
        yield Finding(
            rule="run/base-layout",
            severity="error",
            where=where,
            saw=f"{folder}: no {PIPELINE}",
            want="a pipeline folder of diffusers",
            fix=fix,
        )


def no_ledgers(plan: VideoInferencePlan) -> dict[str, ClipLedger]:
    """Return none: prompts need no ledger.

    Raises:
        FindingsError: the model, or the base of an adapter, is no pipeline folder.
    """
    base = plan.model.base_path
    where, folder = ("model.path", plan.model.path) if base is None else ("model.base_path", base)
    if findings := list(_no_pipeline(where, Path(folder))):
        raise FindingsError(findings)
    return {}


def _base(plan: TrainPlan, facts: Facts) -> Iterator[Finding]:
    """The base is a folder that the library loads: upstream's own files have other names inside."""
    model, where = facts.models["model"], "checkpoint.load_path"
    folder = Path(plan.model.path)
    if not (folder / PIPELINE).is_file():
        yield Finding(
            rule="run/base-layout",
            severity="error",
            where=where,
            saw=f"{folder}: no {PIPELINE}",
            want="a pipeline folder of diffusers: model_index.json, transformer/, vae/",
            fix=Fix(
                text="name the folder of the released pipeline; upstream's .pt files and distributed checkpoints "
                f"become one with `tao-run convert {folder} --family {plan.family} --like PIPELINE --out DIR`"
            ),
        )
    elif model.missing:
        yield Finding(
            rule="run/base-layout",
            severity="error",
            where=where,
            saw=f"missing in {folder}: {', '.join(model.missing[:8])}",
            want="every file of the network",
            fix=Fix(text="fetch the folder again"),
        )
