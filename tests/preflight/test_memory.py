"""The memory of a device decides: an error where the expected value is too much, a warning where the high end is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eight_billion import CONFIG
from project import Project
from tao_runtime.errors import Finding
from tao_runtime.plan.make import make_plan
from tao_runtime.plan.model import TrainPlan
from tao_runtime.preflight.check import check

GIB = 2**30


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("large"))
    (project.model / "config.json").write_text(json.dumps(CONFIG))
    return project


def memory_findings(project: Project, gpu_bytes: float) -> list[Finding]:
    prepared = project.prepare("policy.parallelism.dp_shard_size=4", nproc=4)
    host = replace(prepared.facts.host, num_gpus=4, gpu_memory_bytes=int(gpu_bytes), gpu_name="NVIDIA H100")
    facts = replace(prepared.facts, host=host)
    plan = make_plan(prepared.spec, facts)
    return [one for one in check(prepared.spec, facts, plan).findings if one.rule == "host/memory"]


def test_verdicts_become_severities(project: Project, tmp_path: Path) -> None:
    plan = project.plan("policy.parallelism.dp_shard_size=4", nproc=4)
    assert isinstance(plan, TrainPlan) and plan.estimate.memory is not None
    total = plan.estimate.memory.total
    assert memory_findings(project, total.high / 0.98) == []
    (tight,) = memory_findings(project, total.expected / 0.98)
    (wrong,) = memory_findings(project, total.low / 0.99)
    assert (tight.severity, wrong.severity) == ("warning", "error")
    assert "GiB) needed of the GPU's" in wrong.saw
    assert wrong.fix and wrong.fix.text.startswith("tao-run plan --fit 4x")


def test_an_adapter_is_counted_too(project: Project) -> None:
    estimate = project.plan("policy.lora={}").estimate
    assert estimate.trainable_parameters == 3_833_856
    assert estimate.checkpoint_bytes == 3 * 4 * 3_833_856
    assert estimate.export_bytes == 2 * (8_767_123_696 + 3_833_856)
