"""The export at the end of a training, from the model in memory. Collective."""

from __future__ import annotations

from pathlib import Path

from tao_runtime.engine.build import Built
from tao_runtime.engine.dist import World
from tao_runtime.engine.export.assemble import Assembly, gather
from tao_runtime.engine.export.write import Origin, Writer
from tao_runtime.engine.gates.verdicts import Verdicts
from tao_runtime.engine.stop import StopRequest
from tao_runtime.errors import RunError, StoppedError


def export(
    built: Built, origin: Origin, run_dir: Path, *, world: World, stop: StopRequest, verdicts: Verdicts
) -> dict[str, str]:
    """Write <run>/export/model, and <run>/export/adapter for LoRA; returns both relative to the run. Collective.

    Raises:
        RunError: the audit or the library found something wrong with what was written; it is removed.
        StoppedError: the run was asked to stop; no folder is half-written.
    """
    has_adapter = origin.plan.model.lora is not None
    outputs = {"model": "export/model"} | ({"adapter": "export/adapter"} if has_adapter else {})
    assembly = Assembly(built.model, gather, built.fresh)
    writer = None
    if world.is_main:
        writer = Writer(
            origin,
            assembly,
            run_dir / outputs["model"],
            run_dir / outputs["adapter"] if has_adapter else None,
            frozenset((*built.trainable, *built.skipped)),
        )
    for name, value in assembly.merged():
        if stop.agreed():
            stop.settle()
            if writer is not None:
                writer.discard()
            raise StoppedError("stopped on request while the weights were exported; run the same command again for it")
        if writer is not None:
            writer.take(name, value)
    stop.settle()
    wrong = writer.close() if writer is not None else []
    [problems] = world.sum([float(len(wrong))])
    verdicts.add("export", [finding.render() for finding in wrong], folders=list(outputs.values()))
    verdicts.settle()
    if problems:
        raise RunError("the main rank found something wrong with the export")
    return outputs
