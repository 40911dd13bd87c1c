"""Gap analysis finds the failures, names every fault with its row, and writes all that can be written."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from factory import make_clip
from tao_runtime.deft.gaps import find_gaps
from tao_runtime.deft.parquet import SCHEMA, read_gaps
from tao_runtime.deft.records import open_set
from tao_runtime.errors import InputError
from tao_runtime.score.gap import GapReport

QUESTION = "Is it red?"


def annotation(key: object, gt: str = "yes", video: str = "a.mp4", question: str = QUESTION) -> dict[str, object]:
    turns = [{"from": "human", "value": f"<video>\n{question}"}, {"from": "gpt", "value": gt}]
    return {"id": key, "video": video, "conversations": turns}


def answer(key: object, said: object, gt: str = "yes", question: str = QUESTION) -> dict[str, object]:
    return {"video_id": key, "response": said, "question": question, "gt": gt}


def run(folder: Path, results: object, annotations: object, **options: str) -> GapReport:
    make_clip(folder / "media" / "a.mp4", num_frames=2)
    (folder / "results").mkdir(exist_ok=True)
    (folder / "results" / "results.json").write_text(json.dumps(results))
    (folder / "kpi.json").write_text(json.dumps(annotations))
    source = open_set(folder / "kpi.json", folder / "media")
    return find_gaps(folder / "results", source=source, gaps_parquet=folder / "out" / "gaps.parquet", **options)


def rules(report: GapReport) -> dict[str, list[int | None]]:
    found: dict[str, list[int | None]] = {}
    for finding in report.findings:
        found.setdefault(finding.rule, []).append(finding.record)
    return found


def test_failures_get_their_path_type_and_slice(tmp_path: Path) -> None:
    said = [answer("1", "Yes."), answer("2", "No, it is not"), answer("3", "Yes", "no"), answer("4", "hm", "no")]
    report = run(tmp_path, said, [annotation(str(i), said[i - 1]["gt"]) for i in range(1, 5)])
    gaps = list(read_gaps(tmp_path / "out" / "gaps.parquet"))
    assert [(gap.id, gap.parsed, gap.error_type) for gap in gaps] == [
        ("2", "no", "FN"), ("3", "yes", "FP"), ("4", None, "UNPARSEABLE"),
    ]  # fmt: skip
    assert {gap.video_id for gap in gaps} == {str(tmp_path / "media" / "a.mp4")}
    assert (report.ok, report.kind, report.findings) == (True, "yes_no", ())
    assert [(each.ground_truth, each.failures, each.n) for each in report.slices] == [("no", 2, 2), ("yes", 1, 2)]


def test_no_gaps_give_the_same_columns(tmp_path: Path) -> None:
    report = run(tmp_path, [answer("1", "yes")], [annotation("1")])
    table = pq.read_table(tmp_path / "out" / "gaps.parquet")
    assert (table.num_rows, report.counts["failures"]) == (0, 0)
    assert table.schema.equals(SCHEMA)
    assert table.schema.names[:3] == ["video_id", "question", "ground_truth"]


def test_more_rows_than_a_row_group_all_arrive(tmp_path: Path) -> None:
    keys = [str(i) for i in range(9000)]
    run(tmp_path, [answer(key, "no") for key in keys], [annotation(key) for key in keys])
    assert [gap.id for gap in read_gaps(tmp_path / "out" / "gaps.parquet")] == keys
    assert pq.ParquetFile(tmp_path / "out" / "gaps.parquet").num_row_groups == 2


def test_exact_match_is_lower_and_strip(tmp_path: Path) -> None:
    said = [answer("1", " YES "), answer("2", "Yes."), answer("3", "no")]
    report = run(tmp_path, said, [annotation("1"), annotation("2"), annotation("3")], match="exact")
    found = [(gap.id, gap.error_type) for gap in read_gaps(tmp_path / "out" / "gaps.parquet")]
    assert found == [("2", "WRONG"), ("3", "FN")]
    assert report.match == "exact"


def test_null_answer_is_a_finding_and_a_gap(tmp_path: Path) -> None:
    report = run(tmp_path, [answer("1", "yes"), answer("2", None)], [annotation("1"), annotation("2")])
    assert rules(report) == {"gaps/answer-null": [1]}
    assert [gap.error_type for gap in read_gaps(tmp_path / "out" / "gaps.parquet")] == ["UNPARSEABLE"]
    assert report.exit_code == 1


def test_unanswered_annotation_is_a_gap_with_its_own_question(tmp_path: Path) -> None:
    report = run(tmp_path, [answer("1", "yes")], [annotation("1"), annotation("2", "no")])
    assert rules(report) == {"gaps/result-missing": [1]}
    (gap,) = read_gaps(tmp_path / "out" / "gaps.parquet")
    assert (gap.error_type, gap.question, gap.ground_truth) == ("MISSING", QUESTION, "no")


def test_duplicate_result_is_counted_once(tmp_path: Path) -> None:
    report = run(tmp_path, [answer("1", "no"), answer("1", "yes"), answer("9", "no")], [annotation("1")])
    assert rules(report) == {"gaps/result-duplicate": [1], "gaps/id-unknown": [2]}
    assert (report.counts["judged"], report.counts["written"]) == (1, 1)


def test_repeated_annotation_id_is_told_apart_by_its_question(tmp_path: Path) -> None:
    make_clip(tmp_path / "media" / "b.mp4", num_frames=2)
    kpi = [annotation("1"), annotation("1", "no", "b.mp4", "Is it blue?")]
    report = run(tmp_path, [answer("1", "yes", "no", "Is it blue?"), answer("1", "yes")], kpi)
    assert rules(report) == {"gaps/annotation-id-duplicate": [1]}
    (gap,) = read_gaps(tmp_path / "out" / "gaps.parquet")
    assert gap.video_id.endswith("b.mp4")
    assert report.ok


def test_repeated_annotation_id_that_nothing_tells_apart_is_an_error(tmp_path: Path) -> None:
    report = run(tmp_path, [answer("1", "no")], [annotation("1"), annotation("1", video="b.mp4")])
    assert rules(report) == {"gaps/id-ambiguous": [0], "gaps/annotation-id-duplicate": [1]}
    assert (report.ok, report.counts["written"]) == (False, 0)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "x/../../media-2/a.mp4"])
def test_media_outside_the_root_are_not_written(tmp_path: Path, name: str) -> None:
    report = run(tmp_path, [answer("1", "no"), answer("2", "no")], [annotation("1", video=name), annotation("2")])
    assert rules(report) == {"gaps/media-outside": [0]}
    assert [gap.id for gap in read_gaps(tmp_path / "out" / "gaps.parquet")] == ["2"]


def test_malformed_rows_do_not_stop_the_others(tmp_path: Path) -> None:
    bad: list[object] = [3, {"video_id": "1"}, answer("1", True), answer("1", "no", ""), answer(None, "no")]
    report = run(tmp_path, [*bad, answer("2", "no")], [annotation("1"), annotation("2"), 7, {"video": "a.mp4"}])
    assert rules(report) == {
        "results/not-object": [0],
        "results/key-missing": [1, 1, 1],
        "results/wrong-type": [2],
        "gaps/truth-empty": [3],
        "results/id-missing": [4],
        "gaps/annotation-not-object": [2],
        "gaps/annotation-id-missing": [3],
    }
    assert [gap.id for gap in read_gaps(tmp_path / "out" / "gaps.parquet")] == ["2"]


def test_missing_answer_and_missing_truth_are_not_equal(tmp_path: Path) -> None:
    report = run(tmp_path, [answer("1", "", "")], [annotation("1")], match="exact")
    assert rules(report) == {"gaps/truth-empty": [0]}
    assert report.counts["judged"] == 0


def test_a_rule_speaks_twenty_times_and_then_counts(tmp_path: Path) -> None:
    report = run(tmp_path, [answer("1", "yes"), *[3] * 50], [annotation("1")])
    assert len(rules(report)["results/not-object"]) == 21
    assert "and 30 more" in report.findings[-1].saw


def test_mixed_ground_truths_are_text_with_a_warning(tmp_path: Path) -> None:
    said = [answer("1", "yes"), answer("2", "a red car", "A red car.")]
    report = run(tmp_path, said, [annotation("1"), annotation("2", "A red car.")])
    assert (report.kind, report.ok, report.counts["failures"]) == ("text", True, 0)
    assert rules(report) == {"gaps/kinds-mixed": [None]}


def test_two_results_files_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "results" / "old").mkdir(parents=True)
    (tmp_path / "results" / "old" / "results.json").write_text("[]")
    report = run(tmp_path, [answer("1", "no")], [annotation("1")])
    assert rules(report) == {"gaps/several-results": [None]}
    assert "old/results.json" in report.findings[0].saw
    assert (report.gaps, (tmp_path / "out").exists()) == (None, False)


@pytest.mark.parametrize("text", ["", "{", "[{", '{"a": 1}', "[NaN]", '[{"video_id": "1"'])
def test_broken_results_leave_an_old_file_alone(tmp_path: Path, text: str) -> None:
    run(tmp_path, [answer("1", "no")], [annotation("1")])
    before = (tmp_path / "out" / "gaps.parquet").read_bytes()
    (tmp_path / "results" / "results.json").write_text(text)
    source = open_set(tmp_path / "kpi.json", tmp_path / "media")
    with pytest.raises(InputError, match=r"results\.json:1:"):
        find_gaps(tmp_path / "results", source=source, gaps_parquet=tmp_path / "out" / "gaps.parquet")
    assert (tmp_path / "out" / "gaps.parquet").read_bytes() == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["gaps.parquet"]


def test_text_that_is_not_utf8_is_written_and_reported(tmp_path: Path) -> None:
    report = run(tmp_path, [answer("1", "no \ud83d", question="\ud83d?")], [annotation("1", "yes")])
    (gap,) = read_gaps(tmp_path / "out" / "gaps.parquet")
    assert (gap.response, gap.question) == ("no ?", "??")
    assert "??" in report.model_dump_json()


def test_slices_are_ranked_by_evidence_not_by_luck(tmp_path: Path) -> None:
    """9 of 10 is worse news than 1 of 1."""
    said = [answer(str(i), "no" if i else "yes") for i in range(10)] + [answer("x", "yes", "no")]
    report = run(tmp_path, said, [*(annotation(str(i)) for i in range(10)), annotation("x", "no")])
    assert [(each.failures, each.n) for each in report.slices] == [(9, 10), (1, 1)]
    assert report.slices[0].error_rate.low == pytest.approx(0.596, abs=1e-3)
