"""Every fault that has a code is found under it, and brings no other error along."""

from __future__ import annotations

from pathlib import Path

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
