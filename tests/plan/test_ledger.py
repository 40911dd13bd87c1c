"""The ledger measures every record as training will see it, and survives the disk."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from project import RECORDS, Project
from tao_runtime.data.cosmos_reason import bound_tokens, read_turns, render
from tao_runtime.data.facts import DatasetFacts
from tao_runtime.data.families import PromptOptions, tokenize
from tao_runtime.data.vision import lay_out
from tao_runtime.plan.ledger import Ledger, SampleRules, make_ledger
from tao_runtime.plan.model import DatasetPlan, TrainPlan


@pytest.fixture(scope="module")
def plan(project: Project) -> TrainPlan:
    return project.plan()


@pytest.fixture(scope="module")
def facts(project: Project) -> DatasetFacts:
    return project.facts().datasets["train"]


@pytest.fixture(scope="module")
def tokenizer(project: Project) -> Tokenizer:
    return Tokenizer.from_file(str(project.model / "tokenizer.json"))


def rules_of(plan: TrainPlan, project: Project, *, max_length: int = 40960) -> SampleRules:
    prompt = PromptOptions(plan.data.prompt_format, "", "conversations", plan.data.train.response_mode)
    geometry = project.facts().models["model"].geometry
    return SampleRules("cosmos_reason", plan.data.sampling, geometry, prompt, max_length)


def measure(plan: TrainPlan, facts: DatasetFacts, rules: SampleRules, tokenizer: Tokenizer, **only: object) -> Ledger:
    dataset: DatasetPlan = plan.data.train.model_copy(update=only)
    return make_ledger(dataset, facts, rules, tokenizer)


def test_lengths_and_weights_are_those_of_the_samples(
    project: Project, plan: TrainPlan, facts: DatasetFacts, tokenizer: Tokenizer
) -> None:
    rules = rules_of(plan, project)
    ledger = measure(plan, facts, rules, tokenizer)
    records = json.loads((project.train / "annotations.json").read_text())
    assert len(ledger) == RECORDS
    for position in (0, 7, RECORDS - 1):
        record = records[int(ledger.record[position])]
        assert ledger.read(position) == record
        layouts = [lay_out(facts.media[m], rules.sampling, rules.geometry) for m in facts.columns.media_of(position)]  # type: ignore[arg-type]
        tokens = tokenize(render(read_turns(record), layouts, rules.prompt), tokenizer)
        assert ledger.length[position] == len(tokens.ids)
        # every byte of the answer and the token that ends the turn, in a tokenizer of single bytes
        assert ledger.weight[position] == len("right") + 1


def test_lengths_stay_below_the_bound(
    project: Project, plan: TrainPlan, facts: DatasetFacts, tokenizer: Tokenizer
) -> None:
    rules = rules_of(plan, project)
    ledger = measure(plan, facts, rules, tokenizer)
    for position, record in enumerate(ledger.record.tolist()):
        _, most = bound_tokens(facts, record, sampling=rules.sampling, geometry=rules.geometry)
        assert ledger.length[position] <= most


def test_survives_the_disk(
    project: Project, plan: TrainPlan, facts: DatasetFacts, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    ledger = measure(plan, facts, rules_of(plan, project), tokenizer)
    ledger.save(tmp_path / "ledger-train.npz")
    again = Ledger.load(tmp_path / "ledger-train.npz")
    for field in fields(Ledger):
        one, other = getattr(ledger, field.name), getattr(again, field.name)
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other
    assert [path.name for path in tmp_path.iterdir()] == ["ledger-train.npz"]


@pytest.mark.parametrize("dataset", [{"exclude": (0, 1, 5)}, {"only": (3, 4), "exclude": ()}])
def test_holds_the_records_of_the_plan_only(
    project: Project, plan: TrainPlan, facts: DatasetFacts, tokenizer: Tokenizer, dataset: dict[str, tuple[int, ...]]
) -> None:
    ledger = measure(plan, facts, rules_of(plan, project), tokenizer, **dataset)
    wanted = [n for n in dataset.get("only", range(RECORDS)) if n not in dataset["exclude"]]
    assert ledger.record.tolist() == wanted
    assert [int(str(ledger.read(position)["id"])) for position in range(len(ledger))] == wanted


def test_names_what_is_too_long(tmp_path: Path, tokenizer: Tokenizer, plan: TrainPlan) -> None:
    mine = Project(tmp_path)
    path = mine.train / "annotations.json"
    records = json.loads(path.read_text())
    for number in (2, 30):
        records[number]["conversations"][1]["value"] = "right " * 40
    path.write_text(json.dumps(records))
    facts = mine.facts().datasets["train"]
    fits = measure(mine.plan(), facts, rules_of(plan, mine), tokenizer)
    limit = int(np.median(fits.length))
    ledger = measure(mine.plan(), facts, rules_of(plan, mine, max_length=limit), tokenizer)
    assert ledger.too_long.tolist() == [2, 30]
    assert ledger.record.tolist() == [number for number in range(RECORDS) if number not in (2, 30)]
    assert ledger.length.max() <= limit


def test_counts_as_it_goes(project: Project, plan: TrainPlan, facts: DatasetFacts, tokenizer: Tokenizer) -> None:
    seen: list[None] = []
    make_ledger(plan.data.train, facts, rules_of(plan, project), tokenizer, on_record=lambda: seen.append(None))
    assert len(seen) == RECORDS
