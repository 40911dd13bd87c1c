"""The ledgers of a run on clips, and what only the launch can see of its base and its clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tao_runtime.data.facts import Facts
from tao_runtime.data.snapshot import PIPELINE
from tao_runtime.errors import Finding, FindingsError, Fix
from tao_runtime.plan.clip_ledger import ClipLedger, make_clip_ledger
from tao_runtime.plan.model import TrainPlan, VideoInferencePlan


def clip_ledgers(plan: TrainPlan, facts: Facts) -> dict[str, ClipLedger]:
    """Return the ledger of every data set of clips that the plan reads, by label.

    Raises:
        FindingsError: the base is no pipeline folder, or clips of a micro-batch differ in frame rate.
    """
    assert plan.data.clips is not None
    ledgers = {"train": make_clip_ledger(plan.data.train, facts.datasets["train"], plan.data.clips)}
    findings = [*_base(plan, facts), *_rates(plan, ledgers["train"])]
    if findings:
        raise FindingsError(findings)
    return ledgers


def no_ledgers(plan: VideoInferencePlan) -> dict[str, ClipLedger]:
    """Return none: prompts need no ledger.

    Raises:
        FindingsError: the model is an adapter, or no pipeline folder.
    """
    if plan.model.base_path is not None:
        text = "generate with the run's export/model, which has the adapter merged"
        saw, want, where = f"an adapter on {plan.model.base_path}", "a whole model", "model.base_path"
    elif not (Path(plan.model.path) / PIPELINE).is_file():
        text = "name the export of a run, or the folder of a released pipeline"
        saw, want, where = f"{plan.model.path}: no {PIPELINE}", "a pipeline folder of diffusers", "model.path"
    else:
        return {}
    raise FindingsError(
        [Finding(rule="run/base-layout", severity="error", where=where, saw=saw, want=want, fix=Fix(text=text))]
    )


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


def _rates(plan: TrainPlan, ledger: ClipLedger) -> Iterator[Finding]:
    """The network is told one frame rate per micro-batch."""
    rates = sorted({round(float(rate), 3) for rate in ledger.fps})
    packed = plan.batch.pack_tokens is not None or plan.batch.micro == 0
    if len(rates) > 1 and plan.batch.micro > 1 and not packed:
        yield Finding(
            rule="run/frame-rates",
            severity="error",
            where="dataloader_train.batch_size",
            saw=f"{plan.batch.micro} clips in a micro-batch, {len(rates)} frame rates: {rates[0]:g} to {rates[-1]:g}",
            want="clips of one frame rate, or one clip per micro-batch",
            fix=Fix(text="set dataloader_train.batch_size to 1 and raise trainer.grad_accum_iter"),
        )
