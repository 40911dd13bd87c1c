"""Every fault that has a code is found under it, and brings no other error along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")  # writes the checkpoints that faults are planted into

from probe_faults import PROBE_FAULTS

import artefacts as make
from checkpoint_faults import CHECKPOINT_FAULTS, make_foreign, make_run
from faults import FAULTS, Fault
from tao_runtime.audit import AuditReport, audit
from tao_runtime.audit.codes import CODES


def codes(report: AuditReport) -> set[str]:
    return {finding.rule for finding in report.findings}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.code)
def test_a_planted_fault_is_named(fault: Fault, tmp_path: Path) -> None:
    planted = fault.plant(tmp_path)
    report = audit(planted.path, **planted.options)
    assert codes(report) == {fault.code, *fault.with_it}, report.render()
    assert report.ok == all(finding.severity != "error" for finding in report.findings)


@pytest.mark.parametrize("code", CHECKPOINT_FAULTS)
def test_a_planted_fault_of_a_checkpoint_is_named(code: str, tmp_path: Path) -> None:
    plant, with_it = CHECKPOINT_FAULTS[code]
    report = audit(plant(tmp_path))
    assert codes(report) == {code, *with_it}, report.render()


def test_every_code_has_a_planted_fault() -> None:
    assert {fault.code for fault in FAULTS} | set(CHECKPOINT_FAULTS) | set(PROBE_FAULTS) == set(CODES)


@pytest.mark.parametrize(
    "make_it",
    [
        make.make_model,
        make.make_adapter,
        make.make_pipeline,
        make_run,
        make_foreign,
        lambda root: make.make_model(root, shards=3),
        lambda root: make.make_model(root, tied=True),
        make.make_quantised,
    ],
)
def test_what_the_faults_are_planted_into_has_none(make_it, tmp_path: Path) -> None:
    report = audit(make_it(tmp_path), values=True)
    assert codes(report) == set() and report.parts, report.render()


def test_every_finding_says_what_to_do(tmp_path: Path) -> None:
    for number, fault in enumerate(FAULTS):
        if fault.code == "audit/too-many-files":
            continue
        (tmp_path / str(number)).mkdir()
        planted = fault.plant(tmp_path / str(number))
        for finding in audit(planted.path, **planted.options).findings:
            assert finding.saw and finding.want and finding.fix, finding


@pytest.mark.parametrize("listed", [[None, None], None, "absent"])
@pytest.mark.parametrize("damage", ["whole", "truncated", "deleted", "index"])
def test_a_component_is_looked_at_whatever_the_index_says_of_it(listed: object, damage: str, tmp_path: Path) -> None:
    """Libraries write [null, null] for a class that they do not know, and its folder all the same."""
    root = make.make_pipeline(tmp_path)
    weights = root / "vae/diffusion_pytorch_model.safetensors"
    make.write_safetensors(weights, {"decoder.weight": np.ones((4, 4), np.float32)})
    make.write_json(root / "vae/config.json", {"_class_name": "TinyVideoVae"})
    if listed != "absent":
        make.edit_json(root / "model_index.json", lambda index: index.update(vae=listed))
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-8])
    elif damage == "deleted":
        weights.unlink()
    elif damage == "index":
        weights.rename(root / "vae/a-00001-of-00002.safetensors")
        index = {"weight_map": {"decoder.weight": "a-00001-of-00002.safetensors", "x": "a-00002-of-00002.safetensors"}}
        make.write_json(root / "vae/diffusion_pytorch_model.safetensors.index.json", index)
    report = audit(root)
    assert "vae" in {part.path for part in report.parts}
    errors = {finding.rule for finding in report.findings if finding.severity == "error"}
    rule = {"truncated": "file-truncated", "deleted": "weights-missing", "index": "index-dangling-file"}.get(damage)
    assert errors == ({f"audit/{rule}"} if rule else set()), report.render()
