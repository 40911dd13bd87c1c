"""The mesh infers an axis given as -1, and reports a product that does not fit instead of changing it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from project import Project
from tao_runtime.cli import show_plan
from tao_runtime.plan.mesh import resolve_mesh

ONE = {"dp_replicate": 1, "dp_shard": 1, "cp": 1, "tp": 1, "pp": 1, "cfg": 1}
DEGREE = st.integers(1, 8)


@given(replicate=DEGREE, shard=DEGREE, cp=st.integers(1, 3))
def test_an_axis_to_infer_is_what_is_left(replicate: int, shard: int, cp: int) -> None:
    world = replicate * shard * cp
    for axis in ("dp_replicate", "dp_shard"):
        degrees = {**ONE, "dp_replicate": replicate, "dp_shard": shard, "cp": cp, axis: -1}
        mesh, size = resolve_mesh(degrees, world=world, num_devices=0)
        assert (mesh.dp_replicate, mesh.dp_shard, size) == (replicate, shard, replicate * shard)


@given(degrees=st.fixed_dictionaries(dict.fromkeys(ONE, DEGREE)), world=st.integers(1, 64))
def test_never_clamps(degrees: dict[str, int], world: int) -> None:
    mesh, size = resolve_mesh(degrees, world=world, num_devices=3)
    assert mesh.model_dump() == {"world": world, **degrees}
    assert (size is not None) == (math.prod(degrees.values()) == world)


@pytest.mark.parametrize(
    ("degrees", "devices", "world", "shard"),
    [
        ({}, 8, 1, 1),  # degrees say one process, however many devices there are
        ({"dp_shard": 2}, 0, 2, 2),
        ({"dp_shard": -1}, 8, 8, 8),  # one process per device
        ({"dp_shard": -1}, 0, 1, 1),
        ({"dp_shard": -1, "dp_replicate": 2}, 8, 8, 4),
        ({"dp_shard": -1, "dp_replicate": 2}, 0, 2, 1),
    ],
)
def test_world_when_none_is_given(degrees: dict[str, int], devices: int, world: int, shard: int) -> None:
    mesh, size = resolve_mesh({**ONE, **degrees}, world=None, num_devices=devices)
    assert (mesh.world, mesh.dp_shard) == (world, shard)
    assert size == world


@pytest.mark.parametrize("degrees", [{"dp_shard": -1, "dp_replicate": -1}, {"dp_shard": -1, "dp_replicate": 3}])
def test_what_cannot_be_inferred_stays_unknown(degrees: dict[str, int]) -> None:
    mesh, size = resolve_mesh({**ONE, **degrees}, world=8, num_devices=8)
    assert (mesh.dp_shard, size) == (None, None)


@pytest.mark.parametrize(("nproc", "numbers"), [(6, ("= 4", "6 processes")), (2, ("= 4", "2 processes"))])
def test_both_numbers_are_reported(project: Project, nproc: int, numbers: tuple[str, str]) -> None:
    report = project.prepare("policy.parallelism.dp_shard_size=4", nproc=nproc).report
    [finding] = [each for each in report.findings if each.rule == "cosmos_reason/mesh-product"]
    assert all(number in finding.saw for number in numbers)


def test_a_product_that_is_another_number_is_not_shown_as_equal(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    for nproc, text in ((1, "2 shards are not 1 processes"), (2, "2 shards = 2 processes")):
        show_plan.plan(project.plan("policy.parallelism.dp_shard_size=2", nproc=nproc), as_json=False)
        assert text in capsys.readouterr().out
