"""Does it fit: what is proposed is a run of its own that fits, and nothing is proposed to a run that does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eight_billion import CONFIG
from project import Project
from tao_runtime.cli.fit import show_fit
from tao_runtime.data.facts import HostFacts
from tao_runtime.errors import InputError
from tao_runtime.plan.cosmos_reason.memory import fit, knobs
from tao_runtime.plan.memory.fit import Devices, Fit, judge, parse_devices
from tao_runtime.plan.model import TrainPlan


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose model has the configuration of the 8B one; its weights are not looked at."""
    project = Project(tmp_path_factory.mktemp("large"))
    (project.model / "config.json").write_text(json.dumps(CONFIG))
    return project


def find(project: Project, devices: str, *overrides: str) -> Fit:
    wanted = parse_devices(devices)
    prepared = project.prepare(*overrides, nproc=wanted.count)
    assert isinstance(prepared.plan, TrainPlan)
    return fit(prepared.spec, prepared.plan, prepared.facts, wanted)


@pytest.mark.parametrize(
    ("devices", "overrides"),
    [
        ("8x80GB", []),
        ("4x80GB", []),
        ("24GB", []),
        ("48GB", []),
        ("8x24GB", ["policy.lora={}"]),
        ("80GB", ["policy.lora={}", "policy.model_gradient_checkpointing=false"]),
    ],
)
def test_what_is_proposed_fits_when_it_is_planned(large: Project, devices: str, overrides: list[str]) -> None:
    found = find(large, devices, *overrides)
    assert (found.nearest is None) == (found.verdict == "fits")
    if found.nearest is None:
        return
    changes = [f"{key}={json.dumps(value)}" for key, value in found.nearest.overrides.items()]
    again = find(large, devices, *overrides, *changes)
    assert again.memory is not None
    assert again.verdict == found.nearest.verdict
    assert again.memory.total.expected == pytest.approx(found.nearest.memory.total.expected, rel=0.02)


@pytest.mark.parametrize(
    ("devices", "overrides"),
    [
        ("8x80GB", {"policy.parallelism.dp_shard_size": 8}),
        ("80GB", {"policy.lora": {}}),
        ("24GB", {"policy.lora": {}, "train.master_dtype": "bfloat16"}),
    ],
)
def test_the_nearest_run_changes_as_little_as_it_can(large: Project, devices: str, overrides: dict[str, Any]) -> None:
    near = find(large, devices).nearest
    assert near is not None
    assert (near.verdict, near.overrides) == ("fits", overrides)


def test_a_larger_device_asks_for_no_more_changes(large: Project) -> None:
    costs = []
    for devices in ("8x24GB", "8x48GB", "8x80GB", "8x141GB", "8x400GB"):
        near = find(large, devices, "policy.parallelism.dp_shard_size=8").nearest
        costs.append(len(near.overrides) if near else 0)
    assert costs[-1] == 0
    assert costs[0] >= costs[2] >= costs[3] >= costs[4]


def test_nothing_is_invented_where_nothing_fits(large: Project) -> None:
    found = find(large, "4GB")
    assert (found.verdict, found.nearest) == ("does not fit", None)


@pytest.mark.parametrize("devices", ["1x80GB", "2x80GB", "3x80GB", "8x80GB"])
@pytest.mark.parametrize(
    "given",
    [
        [],
        ["policy.parallelism.dp_shard_size=2"],
        ["policy.parallelism.dp_shard_size=8"],
        ["policy.parallelism.dp_shard_size=-1", "policy.parallelism.dp_replicate_size=3"],
    ],
)
def test_every_mesh_that_is_proposed_is_one_of_so_many_processes(
    large: Project, devices: str, given: list[str]
) -> None:
    world = parse_devices(devices).count
    prepared = large.prepare(*given, nproc=world)
    assert isinstance(prepared.plan, TrainPlan)
    meshes = knobs(prepared.plan, prepared.spec, prepared.facts, world)[0]
    assert meshes
    for option in meshes:
        changes = [f"{key}={json.dumps(value)}" for key, value in option.overrides.items()]
        again = large.prepare(*given, *changes, nproc=world)
        assert "cosmos_reason/mesh-product" not in {finding.rule for finding in again.report.findings}, changes


def test_too_many_shards_for_one_device_are_what_is_wanted_and_repaired(
    large: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["policy.parallelism.dp_shard_size=2", "policy.lora={}"]
    assert show_fit(large.spec(), given, "80GB", as_json=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "  want degrees whose product is 1"
    assert lines[-1].split() == ["policy.parallelism.dp_shard_size=1"]


def test_only_what_is_missing_is_wanted(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_fit(project.spec(), [], "24GB", as_json=False) == 1
    assert "want a base whose config.json is that of a network of cosmos_reason" in capsys.readouterr().out


def test_without_a_configuration_nothing_is_known(project: Project) -> None:
    found = find(project, "24GB")
    assert (found.verdict, found.memory, found.nearest) == ("not known", None, None)


def test_devices_are_read_and_refused() -> None:
    assert parse_devices("8x80GB").count == 8
    assert parse_devices("24GB") == parse_devices("1 x 24 GiB") == Devices(count=1, memory_bytes=int(0.99 * 24 * 2**30))
    for text in ("", "x", "0x80GB", "80TB", "8x", "-1GB", "0GB"):
        with pytest.raises(InputError, match="want the memory of a device, such as 24GB"):
            parse_devices(text)


def test_verdicts_follow_the_ends(large: Project) -> None:
    memory = large.plan("policy.parallelism.dp_shard_size=8", nproc=8).estimate.memory
    assert memory is not None
    for size, verdict in (
        (memory.total.high, "fits"),
        (memory.total.expected, "tight"),
        (memory.total.low, "does not fit"),
    ):
        assert judge(memory, Devices(count=8, memory_bytes=int(size) + 1)) == verdict


def test_time_is_known_where_the_device_is(large: Project) -> None:
    from dataclasses import replace

    from tao_runtime.plan.make import make_plan

    prepared = large.prepare()
    assert isinstance(prepared.plan, TrainPlan)
    assert prepared.plan.estimate.step_seconds is None
    host = HostFacts(1, 80 << 30, 8, 1 << 37, 1 << 40, gpu_name="NVIDIA H100 80GB HBM3")
    plan = make_plan(prepared.spec, replace(prepared.facts, host=host))
    assert isinstance(plan, TrainPlan)
    step, whole = plan.estimate.step_seconds, plan.estimate.total_seconds
    assert step is not None and whole is not None and plan.steps.total
    assert 0 < step.low < step.expected < step.high
    assert whole.expected == pytest.approx(step.expected * plan.steps.total)


def test_the_command_prints_overrides_that_can_be_pasted(large: Project) -> None:
    command = [sys.executable, "-c", "from tao_runtime.cli import main; main()", "plan", "--spec", str(large.spec())]
    done = subprocess.run([*command, "--fit", "24GB"], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("does not fit: 1 x 23.8 GiB, about ")
    near = done.stdout.splitlines()[-1].split()
    assert "policy.lora={}" in near
    again = subprocess.run([*command, "--fit", "24GB", *near], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout
    report = subprocess.run([*command, "--fit", "24GB", "--json"], capture_output=True, text=True, check=False)
    assert Fit.model_validate_json(report.stdout).verdict == "does not fit"
    assert Path(large.model / "config.json").is_file()
