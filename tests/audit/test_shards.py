"""One FSDP shard of N is named with its N, whichever rank saved it, and however its parameters were cut."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import artefacts as make
from tao_runtime.audit import audit
from tao_runtime.audit.shards import shards_of


def shard(value: np.ndarray, rank: int, count: int) -> slice:
    """Return the rows of a rank: chunks are rounded up, so that the last may be short or empty (torch.chunk)."""
    size = -(-len(value) // count)
    return slice(min(rank * size, len(value)), min((rank + 1) * size, len(value)))


def named(path: Path, base: Path | None = None) -> set[int]:
    """Return every N that a finding names; no matrix may be reported one by one as well."""
    findings = audit(path, base=base).findings
    assert not {"audit/rank-mismatch", "audit/adapter-shape", "audit/pair-broken", "audit/zero-rows"} & {
        finding.rule for finding in findings
    }
    return {
        int(re.search(r"one FSDP shard of (\d+)", finding.saw)[1])  # type: ignore[index]
        for finding in findings
        if finding.rule == "audit/fsdp-shard"
    }


@pytest.mark.parametrize("count", [2, 4, 8])
def test_a_shard_of_an_adapter_by_its_shapes(count: int, tmp_path: Path) -> None:
    for rank in {0, count - 1}:
        part = {name: value[shard(value, rank, count)] for name, value in make.adapter_tensors().items()}
        assert named(make.make_adapter(tmp_path / str(rank), part)) == {count}


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 8])
def test_a_shard_of_an_adapter_by_its_shapes_and_a_base(count: int, tmp_path: Path) -> None:
    """A wide base, as real ones are: 8 rows on 3 ranks are 3, 3, 2, and only the base's dimensions tell 3 from 4."""
    rng = np.random.default_rng(0)
    names = [f"model.layers.{layer}.{name}_proj.weight" for layer in range(3) for name in "qv"]
    wide = {name: rng.standard_normal((640, 32), np.float32) for name in names}
    make.write_safetensors(tmp_path / "base/model.safetensors", wide)
    base = tmp_path / "base"
    whole = make.adapter_tensors(wide)
    for rank in range(min(count, -(-make.RANK // -(-make.RANK // count)))):
        part = {name: value[shard(value, rank, count)] for name, value in whole.items()}
        assert named(make.make_adapter(tmp_path / str(rank), part), base) == {count}


@pytest.mark.parametrize(("own", "whole"), [(1, 8), (2, 8), (3, 8), (4, 8), (5, 8), (128, 384), (7, 50), (16, 64)])
def test_every_number_of_ranks_that_fits_is_a_choice(own: int, whole: int) -> None:
    fits = {n: any(len(np.zeros(whole)[shard(np.zeros(whole), k, n)]) == own for k in range(n)) for n in range(2, 130)}
    assert {n for n, fit in fits.items() if fit} == {n for n in shards_of(own, whole) if n < 130}


@pytest.mark.parametrize("count", [2, 4, 8])
def test_a_shard_of_an_adapter_by_its_zeros(count: int, tmp_path: Path) -> None:
    for rank in range(count):
        tensors = make.adapter_tensors()
        for value in tensors.values():
            mask = np.ones(len(value), bool)
            mask[shard(value, rank, count)] = False
            value[mask] = 0
        assert named(make.make_adapter(tmp_path / str(rank), tensors)) == {count}


def test_a_shard_that_holds_nothing_is_empty_tensors(tmp_path: Path) -> None:
    """16 processes share 8 rows of A: the last one has none, and of B's 16 it has one."""
    part = {name: value[shard(value, 15, 16)] for name, value in make.adapter_tensors().items()}
    report = audit(make.make_adapter(tmp_path, part))
    (empty,) = [finding for finding in report.findings if finding.rule == "audit/empty-tensor"]
    assert empty.saw.startswith("8 of 16 tensors have no elements")


@pytest.mark.parametrize("count", [2, 4, 8])
def test_a_shard_of_a_model_by_its_shapes(count: int, tmp_path: Path) -> None:
    base = make.make_model(tmp_path / "base")
    part = {name: value[shard(value, 0, count)] for name, value in make.model_tensors().items()}
    path = make.make_model(tmp_path / "export", part)
    assert named(path) == {count}, "the configuration alone tells it"
    assert named(path, base) == {count}


def test_whole_adapters_of_any_rank_are_no_shards(tmp_path: Path) -> None:
    path = make.make_adapter(tmp_path, rank_pattern={"q_proj": make.RANK}, r=make.RANK)
    assert named(path, make.make_model(tmp_path / "base")) == set()
