"""An evaluation is compared with what its model learnt from: in every family, wherever the weights lie in a run."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from factory import make_clip, make_record, make_snapshot, write_annotations
from mutations import mutate
from project import Project
from structured import TASKS, StructuredProject
from tao_runtime.data.probe import probe_dataset
from tao_runtime.data.trained_on import probe_trained_on
from tao_runtime.errors import Finding
from tao_runtime.plan.model import AnyPlan
from tao_runtime.preflight.rules import RULES
from tao_runtime.spec.base import DatasetRef

MEDIA, SOURCE, UNKNOWN = (f"dataset/train-eval-{name}" for name in ("same-media", "same-source", "unknown"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_run(folder: Path, plan: AnyPlan) -> Path:
    """A run that has saved a commit and exported a model."""
    make_snapshot(folder / "export" / "model")
    (folder / "checkpoints" / "iter_000000004").mkdir(parents=True)
    (folder / "plan.json").write_text(plan.model_dump_json(by_alias=True))
    return folder


class Trained(Project):
    """A project whose training has ended; an evaluation of its export."""

    def train_now(self, *overrides: str) -> Trained:
        self.run = write_run(self.root / "run", self.plan(*overrides))
        return self

    def found(self, model: Path | None = None, data: Path | None = None) -> list[Finding]:
        keys = f"model.model_name={model or self.run / 'export/model'}", f"dataset.annotation_path={data or self.val}"
        report = self.prepare(*keys, action="evaluate").report
        return [one for one in report.findings if one.rule.startswith("dataset/train-eval")]


def name_clips(root: Path, names: tuple[str, ...], *, seed: int = 0, records: int = 20) -> None:
    for number, name in enumerate(names):
        make_clip(root / f"{name}.mp4", seed=seed + number)
    write_annotations(root, [make_record(i, f"{names[i % len(names)]}.mp4") for i in range(records)])


@pytest.mark.parametrize("family", TASKS)
def test_in_every_structured_family(tmp_path: Path, family: str) -> None:
    world = StructuredProject(tmp_path / "world", family)
    run = write_run(tmp_path / "run", world.prepare().plan)
    if family != "cosmos3_reasoner":
        (run / "export/model/model_index.json").write_text("{}")
        (run / "export/model/transformer").symlink_to(".")
    key = "dataset_path" if family.startswith("cosmos3") else "dataset_dir"
    model = f"model.path={run / 'export/model'}"
    for data, words in ((world.data, "name media that"), (world.twin, "of them copies")):
        findings = world.prepare(model, f"dataset.{key}={data}", action="evaluate").report.findings
        assert [(one.rule, one.severity) for one in findings] == [(MEDIA, "warning")]
        assert words in findings[0].saw and str(run) in findings[0].saw
    assert world.prepare(f"dataset.{key}={world.data}", action="evaluate").report.findings == ()


@pytest.mark.parametrize("family", [family for family in TASKS if family != "cosmos3_reasoner"])
def test_a_commit_that_takes_the_place_of_other_weights(tmp_path: Path, family: str) -> None:
    world = StructuredProject(tmp_path / "world", family)
    run = write_run(tmp_path / "run", world.prepare().plan)
    report = world.prepare(f"model.commit={run / 'checkpoints/iter_000000004'}", action="evaluate").report
    assert MEDIA in [one.rule for one in report.findings]


def picture_set(root: Path, layout: str, first: int) -> DatasetRef:
    """Pictures `first` and the next one; one is as good as another's if the numbers are equal."""
    root.mkdir()
    rows = []
    for number in (first, first + 1):
        Image.new("RGB", (64, 64), (number, 120, 200)).save(root / f"{root.name}-{number}.png")
        turns = [{"from": "human", "value": "<image>\nColour?"}, {"from": "gpt", "value": "blue"}]
        rows.append({"id": str(number), "conversations": turns, "image": f"{root.name}-{number}.png"})
    if layout == "llava":
        write_annotations(root, rows)
    else:
        table = [{**row, "image": {"bytes": (root / row["image"]).read_bytes(), "path": None}} for row in rows]
        schema = pa.Table.from_pylist([{**rows[0], "image": {"bytes": b"", "path": ""}}]).schema
        pq.write_table(pa.Table.from_pylist(table, schema=schema), root / "a.parquet")
    return DatasetRef("eval", str(root), "", "dataset.annotation_path", "dataset.media_dir", format=layout)


def clip_set(root: Path, layout: str, first: int, **keys: object) -> DatasetRef:
    """Two clips under names of the set's own, as lines or as entries; `keys` go into each of them."""
    rows: list[dict[str, object]] = []
    for number in (first, first + 1):
        name = f"media/{root.name}-{number}.mp4"
        make_clip(root / name, seed=number)
        window = {"start_frame": 0, "end_frame": 8, "temporal_interval": 1, "caption_json": {"a": number}}
        turns = [{"from": "human", "value": "<video>\nScore?"}, {"from": "gpt", "value": "4"}]
        rows.append({"uuid": str(number), "vision_path": name, "t2w_windows": [window], **keys} if "jsonl" in layout
                    else {"id": str(number), "media": name, "conversations": turns, **keys})  # fmt: skip
    path = root / ("clips.jsonl" if "jsonl" in layout else "meta.json")
    path.write_text("\n".join(map(json.dumps, rows)) if "jsonl" in layout else json.dumps(rows))
    return DatasetRef("eval", str(path), "", "dataset.annotation_path", "dataset.media_dir", format=layout)


def judged(project: Trained, train: DatasetRef, evaluated: DatasetRef) -> list[Finding]:
    """What is said of an evaluation of one set after a training on another."""
    seen, plan = probe_dataset(train), json.loads((project.run / "plan.json").read_text())
    told = {"annotation": str(seen.annotation), "media_root": str(seen.media_root), "sha256": seen.sha256}
    plan["data"]["train"] = {**told, "format": train.format}
    (project.run / "plan.json").write_text(json.dumps(plan))
    prepared = project.prepare(f"model.model_name={project.run / 'export/model'}", action="evaluate")
    data = probe_dataset(evaluated)
    assert data.num_usable == seen.num_usable == 2
    facts = replace(prepared.facts, datasets={"eval": data}, trained_on=probe_trained_on(prepared.spec, data))
    return [one for name in (MEDIA, SOURCE, UNKNOWN)
            for one in RULES[name].findings(prepared.spec, facts, prepared.plan)]  # fmt: skip


@pytest.mark.parametrize("layout", ["llava", "llava-parquet"])
@pytest.mark.parametrize("other", ["llava", "llava-parquet"])
def test_pictures_in_files_and_in_rows(tmp_path: Path, layout: str, other: str) -> None:
    project, train = Trained(tmp_path).train_now(), picture_set(tmp_path / "a", layout, 1)
    (finding,) = judged(project, train, picture_set(tmp_path / "b", other, 2))
    assert finding.rule == MEDIA and "1 of 2 records (0) name media" in finding.saw and "1 of them cop" in finding.saw
    (finding,) = judged(project, train, train)
    assert "2 of 2 records (0, 1) name media" in finding.saw and "copies" not in finding.saw
    assert judged(project, train, picture_set(tmp_path / "c", other, 3)) == []


@pytest.mark.parametrize("layout", ["video-jsonl", "videophy2"])
def test_clips_in_lines_and_in_entries(tmp_path: Path, layout: str) -> None:
    project, train = (
        Trained(tmp_path).train_now(),
        clip_set(tmp_path / "a", layout, 1, source_id="tape", start=0, end=9),
    )
    (finding,) = judged(project, train, clip_set(tmp_path / "b", layout, 2))
    assert finding.rule == MEDIA and "1 of 2 records (0) name media" in finding.saw and "1 of them cop" in finding.saw
    (finding,) = judged(project, train, clip_set(tmp_path / "c", layout, 5, source_id="tape", start=8, end=17))
    assert finding.rule == SOURCE and "2 of 2 records" in finding.saw and "1 of them in overlapping" in finding.saw
    assert judged(project, train, clip_set(tmp_path / "d", layout, 7, source_id="other", start=0, end=9)) == []


def test_clips_of_their_own_are_no_finding(tmp_path: Path) -> None:
    assert Trained(tmp_path).train_now().found() == []


@pytest.mark.parametrize("part", ["", "checkpoints/iter_000000004", "export/model"])
def test_the_weights_are_a_run_or_lie_in_one(tmp_path: Path, part: str) -> None:
    project = Trained(tmp_path).train_now()
    (finding,) = project.found(project.run / part, project.train)
    assert finding.rule == MEDIA
    assert f"40 of 40 records (0, 1, 2, ...) name media that the model was trained on in {project.run}" in finding.saw
    assert finding.fix and finding.fix.text.endswith(f"held out, as {project.val / 'annotations.json'} was")


def test_a_model_beside_a_plan_is_not_of_that_run(tmp_path: Path) -> None:
    project = Trained(tmp_path).train_now()
    base = make_snapshot(project.run / "base")
    assert project.found(base, project.train) == []


def test_an_export_elsewhere_says_where_it_is_from(tmp_path: Path) -> None:
    project = Trained(tmp_path).train_now()
    folder = make_snapshot(tmp_path / "elsewhere")
    told = {"checkpoint": str(project.run / "checkpoints/iter_000000004"), "base": {"path": str(project.model)}}
    (folder / "manifest.json").write_text(json.dumps(told))
    assert [one.rule for one in project.found(folder, project.train)] == [MEDIA]


def test_what_the_base_learnt_from_counts_too(tmp_path: Path) -> None:
    project = Trained(tmp_path).train_now()
    other = Project(tmp_path / "second")
    name_clips(other.train, ("a", "b", "c", "d"), seed=200)
    second = write_run(tmp_path / "later", other.plan(f"policy.model_name_or_path={project.run / 'export/model'}"))
    (finding,) = project.found(second, project.train)
    assert str(project.run) in finding.saw and str(second) not in finding.saw


def test_a_copy_under_another_name(tmp_path: Path) -> None:
    project = Trained(tmp_path).train_now()
    shutil.copy(project.train / "clip_2.mp4", project.val / "other.mp4")
    write_annotations(project.val, [make_record(0, "clip_0.mp4"), make_record(1, "other.mp4")])
    (finding,) = project.found()
    assert "1 of 2 records (1) name media" in finding.saw
    assert finding.saw.endswith(f"1 of them copies: {project.val}/other.mp4 is {project.train}/clip_2.mp4")


def test_the_same_file_is_no_copy_though_the_set_holds_copies(tmp_path: Path) -> None:
    project = Trained(tmp_path)
    shutil.copy(project.train / "clip_2.mp4", project.train / "clip_3.mp4")
    (finding,) = project.train_now().found(data=project.train)
    assert "40 of 40" in finding.saw and "copies" not in finding.saw


@pytest.mark.parametrize(("name", "overlaps"), [("vJk3x9Q_5_12", True), ("vJk3x9Q_10_20", False)])
def test_a_clip_of_the_same_video_overlapping_or_beside_it(tmp_path: Path, name: str, overlaps: bool) -> None:
    project = Trained(tmp_path)
    name_clips(project.train, ("vJk3x9Q_0_10", "Qrs7Tu8_0_10", "Abc4De5_0_10", "Fgh6Ij7_0_10", "Zyx9Wv8_0_10"))
    project.train_now()
    name_clips(project.val, (name, "clip_0"), seed=50, records=4)
    (finding,) = project.found()
    assert finding.rule == SOURCE
    assert "2 of 4 records (0, 2) are cut from 1 videos that the model was trained on" in finding.saw
    assert ("1 of them in overlapping parts" in finding.saw) == overlaps


def test_records_that_the_run_held_out_are_not_what_it_learnt_from(tmp_path: Path) -> None:
    project = Trained(tmp_path)
    name_clips(project.train, tuple(f"take{number}" for number in range(20)), seed=300)  # a clip to each record
    split = ("custom.val_dataset=null", "train.train_policy.dataset.test_size=4")
    plan = project.plan(*split)
    project.train_now(*split)
    assert plan.data.val is not None and plan.data.val.only is not None
    held = plan.data.val.only
    records = json.loads((project.train / "annotations.json").read_text())
    kept, seen = project.train / "kept.json", project.train / "seen.json"
    kept.write_text(json.dumps([records[number] for number in held]))
    seen.write_text(json.dumps([record for number, record in enumerate(records) if number not in held]))
    assert project.found(data=kept) == []
    (finding,) = project.found(data=seen)
    assert "16 of 16" in finding.saw
    assert finding.fix and f"the run kept 4 records of {project.train / 'annotations.json'} (" in finding.fix.text


def test_a_quantised_model_learnt_what_its_base_did(tmp_path: Path) -> None:
    project = Trained(tmp_path).train_now()
    plan = project.prepare(f"model.model_path={project.run / 'export/model'}", action="quantize").plan
    (finding,) = project.found(write_run(tmp_path / "quantised", plan), project.train)
    assert finding.rule == MEDIA and str(project.run) in finding.saw


def changed(project: Trained) -> None:
    write_annotations(project.train, [make_record(0, "clip_0.mp4")])


def lost(project: Trained) -> None:
    (project.train / "clip_3.mp4").unlink()


def untold(project: Trained) -> None:
    plan = json.loads((project.run / "plan.json").read_text())
    (project.run / "plan.json").write_text(json.dumps({**plan, "data": {}}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed, "annotations.json has changed since: nothing was compared with"),
        (lambda project: shutil.rmtree(project.train), "(No such file or directory): nothing was"),
        (lost, "10 of 40 records of"),
        (untold, "plan.json does not say what was trained on: nothing was compared"),
        (lambda project: (project.run / "plan.json").write_text("{"), "plan.json does not say"),
        (lambda project: (project.run / "plan.json").write_bytes(b"\xff\0"), "plan.json does not say"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path: Path, change, words: str) -> None:  # type: ignore[no-untyped-def]
    project = Trained(tmp_path).train_now()
    change(project)
    (finding,) = project.found()
    assert (finding.rule, finding.severity) == (UNKNOWN, "note")
    assert words in finding.saw


def test_no_plan_and_no_manifest_raises_anything(tmp_path: Path) -> None:
    project, rng = Trained(tmp_path).train_now(), random.Random(4)
    prepared = project.prepare(f"model.model_name={project.run / 'export/model'}", action="evaluate")
    plan, told = project.run / "plan.json", project.run / "export/model/manifest.json"
    whole = json.loads(plan.read_text())
    manifest = {"checkpoint": str(project.run / "checkpoints/iter_000000004"), "base": {"path": str(project.model)}}
    for number in range(200):
        data = {**whole["data"], "train": mutate(whole["data"]["train"], rng)}
        plan.write_text(json.dumps({**whole, "data": data} if number % 2 else mutate(whole, rng, stop=0.1)))
        told.write_text(json.dumps(mutate(manifest, rng)))
        probe_trained_on(prepared.spec, prepared.facts.datasets["eval"])
    plan.write_text(json.dumps(whole))
    (found,) = probe_trained_on(prepared.spec, prepared.facts.datasets["eval"])
    assert found.run == project.run and found.trouble == ""
