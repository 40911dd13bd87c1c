"""Mutation over all rules: taken out, each one turns the test of its own fixture red. And good data has no error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from preflight import test_rules, test_structured_rules

from factory import make_clip, make_dataset, make_image, make_record
from project import Project
from tao_runtime.data import launch, media, probe
from tao_runtime.data.fold import DATA_RULES, Collector
from tao_runtime.data.probe import probe_dataset
from tao_runtime.errors import Finding
from tao_runtime.preflight.rules import RULES
from tao_runtime.spec.base import DatasetRef

# Modules whose findings are not made by a collector.
MAKERS = (media, probe, launch)


def under_another_name(name: str) -> type[Finding]:
    """Return a class of findings in which those of one rule are of no rule."""

    class Renamed(Finding):
        def __init__(self, **fields: Any) -> None:
            super().__init__(**{**fields, "rule": "none/none" if fields["rule"] == name else fields["rule"]})

    return Renamed


@contextmanager
def without(name: str) -> Iterator[None]:
    """Take a rule out: of the registry, and out of the mouths of those who judge while data is read."""
    add = Collector.add

    def say(self: Collector, rule: Any, *args: Any, **options: Any) -> None:
        if rule.name != name:
            add(self, rule, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        if RULES[name].judge is not None:
            patch.delitem(RULES, name)
        patch.setattr(Collector, "add", say)
        renamed = under_another_name(name)
        for module in MAKERS:
            patch.setattr(module, "Finding", renamed)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", test_rules.BAD)
def test_without_a_rule_its_own_test_is_red(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with without(name), pytest.raises((AssertionError, KeyError)):
        test_rules.test_rule_fires_on_its_bad_input(tmp_path, name)


@pytest.mark.slow
@pytest.mark.parametrize("case", test_structured_rules.BAD, ids=lambda case: str(case[0]))
def test_without_a_structured_rule_its_own_test_is_red(
    tmp_path: Path, case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with without(case[0]), pytest.raises(AssertionError):
        test_structured_rules.test_rule_fires_on_its_bad_input(tmp_path, *case)


@pytest.mark.parametrize("name", ["dataset/tag-in-answer", "media/empty", "cosmos_reason/batch-divides"])
def test_a_rule_of_each_kind_taken_out(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with without(name), pytest.raises((AssertionError, KeyError)):
        test_rules.test_rule_fires_on_its_bad_input(tmp_path, name)
    test_rules.test_rule_fires_on_its_bad_input(tmp_path / "with", name)


def test_every_rule_has_a_fixture_somewhere() -> None:
    own = {rule for rule, *_ in test_structured_rules.BAD}
    layouts = {name for name in test_rules.LAYOUTS if _named_in_a_test(name)}
    assert set(RULES) == set(test_rules.BAD) | own | layouts
    assert set(DATA_RULES) <= set(RULES)


def _named_in_a_test(name: str) -> bool:
    own = Path(__file__)
    return any(f'"{name}"' in path.read_text() for path in own.parents[1].rglob("test_*.py") if path != own)


HUMAN, GPT = {"from": "human", "value": "<video>\nWhich way?"}, {"from": "gpt", "value": "left"}
TWO = {"from": "human", "value": "<video><video>\nWhich is longer?"}
GOOD: dict[str, dict[str, object]] = {
    "system turn": {"conversations": [{"from": "system", "value": "Be short."}, HUMAN, GPT]},
    "roles of OpenAI": {"conversations": [{**HUMAN, "from": "user"}, {**GPT, "from": "assistant"}]},
    "several turns": {"conversations": [HUMAN, GPT, {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "é"}]},
    "reasoning": {"conversations": [HUMAN, {"from": "gpt", "value": "<think>It is < 3.</think>left"}]},
    "two videos, two rates": {"video": ["a.mp4", "b.mp4"], "video_fps": [8, 4.0], "conversations": [TWO, GPT]},
    "a rate said twice": {"fps": 8},
    "a picture": {"video": None, "video_fps": None, "image": "a.png",
                  "conversations": [{"from": "human", "value": "<image>?"}, GPT]},
    "text alone": {"video": None, "video_fps": None, "conversations": [{"from": "human", "value": "2 + 2?"}, GPT]},
    "whole number of frames": {"video_fps": 8},
    "number as id": {"id": 7},
    "further keys": {"task": "mcq", "options": ["a", "b"], "source_video": "abc", "start": 0, "end": 2.0},
    "a tag that is escaped": {"conversations": [HUMAN, {"from": "gpt", "value": "the &lt;video&gt; tag"}]},
}  # fmt: skip


@pytest.mark.parametrize("lines", [False, True])
def test_a_corpus_of_good_records_has_no_error(tmp_path: Path, lines: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = make_dataset(tmp_path, 1)
    make_clip(root / "a.mp4", seed=5)
    make_clip(root / "b.mp4", seed=6, fps=4)
    make_image(root / "a.png")
    records = [make_record(i, **{"id": f"good-{i}", **fields}) for i, fields in enumerate(GOOD.values())]
    path = root / ("good.jsonl" if lines else "good.json")
    text = "\n".join(map(json.dumps, records)) if lines else json.dumps(records, ensure_ascii=False, indent=1)
    path.write_text("\ufeff" + text)
    facts = probe_dataset(DatasetRef("train", str(path), "", "a", "m"))
    assert [finding.render() for finding in facts.findings if finding.severity == "error"] == []
    assert facts.num_usable == len(GOOD)


@pytest.mark.parametrize("action", ["train", "evaluate", "inference"])
def test_good_specs_in_every_format_have_no_error(tmp_path: Path, action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from specs import to_toml
    from tao_runtime.preflight.prepare import prepare

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tables = Project(tmp_path / "project").tables(action)
    for suffix, text in ((".json", json.dumps(tables)), (".toml", to_toml(tables))):
        path = tmp_path / f"spec{suffix}"
        path.write_text(text)
        assert prepare(path, action=action).report.findings == ()
