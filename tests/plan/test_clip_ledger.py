"""A ledger of clips has the samples that the plan counted, and cuts them as the plan's rules say."""

from __future__ import annotations

from pathlib import Path

import pytest

from structured import FRAMES, StructuredProject
from tao_runtime.data.records import read_caption
from tao_runtime.plan.clip_ledger import ClipLedger, make_clip_ledger
from tao_runtime.plan.model import TrainPlan

FAMILIES = ["cosmos_predict1", "cosmos_predict2", "cosmos3_vision"]


def ledger_of(root: Path, family: str) -> tuple[ClipLedger, TrainPlan]:
    prepared = StructuredProject(root, family).prepare()
    assert isinstance(prepared.plan, TrainPlan) and prepared.plan.data.clips is not None
    train = prepared.facts.datasets["train"]
    return make_clip_ledger(prepared.plan.data.train, train, prepared.plan.data.clips), prepared.plan


@pytest.mark.parametrize("family", FAMILIES)
def test_it_has_the_samples_that_the_plan_counted(tmp_path: Path, family: str) -> None:
    ledger, plan = ledger_of(tmp_path / "p", family)
    assert len(ledger) == plan.data.train.num_records == (6 * (FRAMES - 16) if family == "cosmos_predict1" else 6)
    assert int(ledger.length.max()) == plan.estimate.max_tokens
    assert set(ledger.weight.tolist()) == {1}


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_same_from_its_file(tmp_path: Path, family: str) -> None:
    ledger, plan = ledger_of(tmp_path / "p", family)
    ledger.save(tmp_path / "ledger.npz")
    again, rules = ClipLedger.load(tmp_path / "ledger.npz"), plan.data.clips
    assert rules is not None
    for position in range(len(ledger)):
        assert again.cut(position, rules, start=0.7) == ledger.cut(position, rules, start=0.7)
        assert read_caption(again, position, 0) == read_caption(ledger, position, 0)
        assert read_caption(again, position, 0).caption


def test_a_drawn_start_reaches_both_ends_of_the_clip(tmp_path: Path) -> None:
    ledger, plan = ledger_of(tmp_path / "p", "cosmos_predict2")
    assert plan.data.clips is not None
    starts = {ledger.cut(0, plan.data.clips, start=part / 100)[0].start for part in range(100)}
    assert starts == set(range(FRAMES - 17 + 1))


def test_every_start_is_a_sample_of_its_own(tmp_path: Path) -> None:
    ledger, plan = ledger_of(tmp_path / "p", "cosmos_predict1")
    assert plan.data.clips is not None
    cuts = [(int(ledger.record[place]), ledger.cut(place, plan.data.clips)[0].start) for place in range(len(ledger))]
    assert cuts == [(record, start) for record in range(6) for start in range(FRAMES - 17 + 1)]
