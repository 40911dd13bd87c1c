"""The table of contents of a distributed checkpoint is read as torch reads it, without unpickling."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from checkpoint_faults import make_run, save_part
from tao_runtime.audit import audit
from tao_runtime.audit.codes import CODES
from tao_runtime.audit.dcp import read_shards
from tao_runtime.audit.folder import open_folder


def test_names_and_shapes_are_those_that_torch_reads(tmp_path: Path) -> None:
    save_part(tmp_path)
    with (tmp_path / ".metadata").open("rb") as file:
        table = pickle.load(file)  # noqa: S301 - written by the line above
    shards = read_shards(open_folder(tmp_path))
    want = {name: tuple(item.size) for name, item in table.state_dict_metadata.items() if hasattr(item, "size")}
    assert {name: tensor.shape for name, tensor in shards.tensors.items()} == want
    assert {tensor.dtype for tensor in shards.tensors.values()} == {"F32"}
    assert (shards.ranks, shards.num_parameters, shards.findings) == (1, 35, ())


@pytest.mark.parametrize("protocol", range(2, 6))
def test_every_protocol_that_torch_may_write(protocol: int, tmp_path: Path) -> None:
    path = save_part(tmp_path) / ".metadata"
    with path.open("rb") as file:
        table = pickle.load(file)  # noqa: S301 - written by the line above
    path.write_bytes(pickle.dumps(table, protocol=protocol))
    assert read_shards(open_folder(tmp_path)).num_parameters == 35


def test_the_parts_of_a_run_are_counted(tmp_path: Path) -> None:
    report = audit(make_run(tmp_path))
    assert [(part.path, part.tensors, part.parameters, part.ranks, part.committed) for part in report.parts] == [
        (f"checkpoints/iter_00000000{step}", 2, 35, 1, True) for step in (1, 2)
    ]
    assert [part.values_read for part in report.parts] == [False, True], "only the newest commit is hashed"


def fuzz(count: int, root: Path) -> int:
    rng = random.Random(0)
    path = save_part(root) / ".metadata"
    healthy = path.read_bytes()
    caught = 0
    for _ in range(count):
        raw = bytearray(healthy)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(raw))
            raw[place : place + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
        path.write_bytes(raw)
        report = audit(root)
        assert {finding.rule for finding in report.findings} <= set(CODES)
        report.model_dump_json()
        caught += bool(report.findings)
    return caught


def test_a_mutated_table_gives_findings_and_no_traceback(tmp_path: Path) -> None:
    assert fuzz(300, tmp_path) > 150


@pytest.mark.slow
def test_many_mutated_tables_give_no_traceback(tmp_path: Path) -> None:
    assert fuzz(50_000, tmp_path) > 25_000
