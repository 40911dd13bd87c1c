"""The verdict: what was planted is said, too few questions say nothing, and nothing is green that is not whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shipping import judged, row, rows, rules, write
from tao_runtime.errors import FindingsError, InputError
from tao_runtime.score.interval import Estimate
from tao_runtime.ship.compare import decide
from tao_runtime.ship.judge import Options, ResultSet, judge_ship


def test_all_better_is_better(tmp_path: Path) -> None:
    report = judged(tmp_path, rows("0" * 40), rows("1" * 40))
    assert (report.verdict, report.ok, int(report.exit_code)) == ("better", True, 0)
    assert rules(report) == {"ship/no-general-set"}
    versus = report.sets[0].versus[0]
    assert (versus.wrong_to_right, versus.right_to_wrong, versus.difference.value) == (40, 0, 1.0)


def test_worse_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    report = judged(tmp_path, rows("1" * 40), rows("10" * 20))
    assert (report.verdict, int(report.exit_code)) == ("worse", 1)
    finding = next(each for each in report.findings if each.rule == "ship/worse")
    assert finding.saw.startswith("evaluation: tuned against base: -50.0% [")
    assert finding.fix is not None and "general data" in finding.fix.text
    assert "ship/slice-worse" not in rules(report)  # the set is named, so its slices need not be


def test_a_slice_that_was_lost_is_named_where_the_set_is_better(tmp_path: Path) -> None:
    report = judged(tmp_path, rows("1000" * 30), rows("0111" * 30))
    assert (report.verdict, report.ok) == ("better", True)
    finding = next(each for each in report.findings if each.rule == "ship/slice-worse")
    assert finding.saw.endswith("'Which way?', truth 'left': 100% before, 0% after")
    worst = report.sets[0].versus[0].slices[0]
    assert (worst.ground_truth, worst.lost, worst.gained) == ("left", 30, 0)
    assert worst.p_adjusted == pytest.approx(4 * worst.p)


def test_equal_models_on_enough_questions_are_the_same(tmp_path: Path) -> None:
    report = judged(tmp_path, rows("1101" * 60), rows("1101" * 60))
    assert (report.verdict, report.ok) == ("same", True)
    assert "ship/answers-identical" in rules(report)


@pytest.mark.parametrize(("base", "tuned"), [("111", "111"), ("1" * 20, "1" * 19 + "0"), ("0" * 3, "1" * 3)])
def test_few_questions_cannot_tell(tmp_path: Path, base: str, tuned: str) -> None:
    report = judged(tmp_path, rows(base), rows(tuned))
    assert (report.verdict, report.ok) == ("cannot tell", True)
    finding = next(each for each in report.findings if each.rule == "ship/cannot-tell")
    needed = report.sets[0].versus[0].needed
    assert needed is not None and needed > len(base)
    assert finding.want == f"about {needed:,} questions"


def test_forgetting_outweighs_what_was_gained(tmp_path: Path) -> None:
    report = judged(tmp_path, rows("0" * 40), rows("1" * 40), ("1" * 60, "1" * 30 + "0" * 30))
    assert (report.verdict, int(report.exit_code)) == ("worse", 1)
    assert report.reason == "worse on general-0 (tuned against base); better on evaluation"
    assert "ship/no-general-set" not in rules(report)


def test_a_general_set_that_the_base_cannot_answer_tells_nothing(tmp_path: Path) -> None:
    blind = "1000" * 60  # right on one truth of four, as one answer for all would be
    report = judged(tmp_path, rows("0" * 40), rows("1" * 40), (blind, blind))
    assert report.verdict == "cannot tell"
    assert report.sets[1].versus[0].reason.startswith("base does no better than one answer for all")


def test_quantised_is_held_against_both(tmp_path: Path) -> None:
    places = {
        "base": write(tmp_path / "b", rows("0" * 80)),
        "tuned": write(tmp_path / "t", rows("1" * 80)),
        "quantised": write(tmp_path / "q", rows("1" * 60 + "0" * 20)),
    }
    report = judge_ship([ResultSet("evaluation", "evaluation", places)], Options())
    verdicts = {(each.before, each.after): each.verdict for each in report.sets[0].versus}
    want = {("base", "tuned"): "better", ("base", "quantised"): "better", ("tuned", "quantised"): "worse"}
    assert verdicts == want
    assert report.verdict == "worse"


@pytest.mark.parametrize(
    ("low", "high", "want"),
    [
        (0.01, 0.15, "better"),
        (-0.15, -0.01, "worse"),
        (-0.015, 0.012, "same"),
        (-0.05, 0.01, "cannot tell"),
        (0.001, 0.019, "same"),  # surely better, and surely by less than matters
        (-0.02, 0.02, "same"),
    ],
)
def test_decide(low: float, high: float, want: str) -> None:
    found = Estimate(value=(low + high) / 2, low=low, high=high, n=9)
    assert decide(found, tolerance=0.02) == want
    assert decide(Estimate(), tolerance=0.02) == "cannot tell"


def test_missing_and_extra_records_are_errors_and_never_green(tmp_path: Path) -> None:
    report = judged(tmp_path, rows("0" * 41), rows("1" * 40))
    assert (report.verdict, int(report.exit_code)) == ("cannot tell", 1)
    finding = next(each for each in report.findings if each.rule == "ship/record-missing")
    assert finding.saw == "record 'c40' was answered by base and not by tuned"
    assert report.sets[0].n == 40
    assert report.sets[0].versus[0].reason == "would be better, but the results do not fit each other"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"question": "How many?"}, "ship/question-differs"),
        ({"gt": "backwards"}, "ship/truth-differs"),
        ({"video": "other.mp4"}, "ship/media-differs"),
    ],
)
def test_contradictory_records_are_judged_for_nobody(tmp_path: Path, changes: dict[str, str], rule: str) -> None:
    tuned = [*rows("1" * 40), row(40, right=True, **changes)]
    report = judged(tmp_path, rows("0" * 41), tuned)
    assert rule in rules(report)
    assert (report.ok, report.sets[0].n) == (False, 40)


def test_a_question_that_was_answered_twice_is_an_error(tmp_path: Path) -> None:
    report = judged(tmp_path, rows("0" * 40), [*rows("1" * 40), row(3, right=True)])
    assert rules(report) >= {"ship/record-duplicate"}
    assert (report.ok, report.sets[0].n) == (False, 39)


def test_several_questions_about_one_clip_are_told_apart_and_count_for_less(tmp_path: Path) -> None:
    def asked(right: bool) -> list[dict[str, object]]:
        return [row(clip, right=right, question=f"Q{q}") for clip in range(5) for q in range(8)]

    report = judged(tmp_path, asked(False), asked(True))
    assert (report.ok, report.sets[0].n, report.sets[0].clips) == (True, 40, 5)
    alone = judged(tmp_path / "alone", rows("0" * 40), rows("1" * 40)).sets[0].versus[0].difference
    low = report.sets[0].versus[0].difference.low
    assert low is not None and alone.low is not None and low < alone.low - 0.1


def test_unreadable_answers_are_counted_and_warned_about(tmp_path: Path) -> None:
    base = [row(i, right=True, gt="yes", response="yes") for i in range(40)]
    tuned = [row(i, right=True, gt="yes", response="yes" if i % 2 else "the sky") for i in range(40)]
    report = judged(tmp_path, base, tuned)
    assert report.sets[0].sides[1].unparseable == 20
    assert "ship/unparseable" in rules(report)


def test_long_truths_are_compared_by_their_words(tmp_path: Path) -> None:
    truth = "a red car turns left at the light"
    base = [row(i, right=True, gt=truth, response="a car") for i in range(60)]
    tuned = [row(i, right=True, gt=truth, response="a red car turns left") for i in range(60)]
    report = judged(tmp_path, base, tuned)
    assert (report.sets[0].figure, report.verdict) == ("token_f1", "better")


PLAN = {"data": {"sha256": "1"}, "sampling": {"num_frames": 8}, "system_prompt": "", "generation": {"max_tokens": 8}}


@pytest.mark.parametrize(
    ("changes", "rule", "ok"),
    [
        ({"data": {"sha256": "2"}}, "ship/data-differs", False),
        ({"sampling": {"num_frames": 4}}, "ship/frames-differ", False),
        ({"system_prompt": "Think."}, "ship/prompt-differs", True),
        ({"generation": {"max_tokens": 4}}, "ship/generation-differs", True),
        ({"model": {"path": "one"}}, "ship/same-model", False),
        ({"generation": {"max_tokens": 8, "batch_size": 4}}, "", True),
    ],
)
def test_evaluations_that_differ_in_more_than_the_weights(
    tmp_path: Path, changes: dict[str, object], rule: str, ok: bool
) -> None:
    base = write(tmp_path / "b", rows("0" * 40), {**PLAN, "model": {"path": "one"}})
    tuned = write(tmp_path / "t", rows("1" * 40), {**PLAN, "model": {"path": "two"}, **changes})
    for folder in (base, tuned):
        (folder / "run.json").write_text("{}")
    report = judge_ship([ResultSet("evaluation", "evaluation", {"base": base, "tuned": tuned})], Options())
    assert rules(report) == {"ship/no-general-set", rule} - {""}
    assert (report.ok, report.verdict) == (ok, "better" if ok else "cannot tell")


def test_an_evaluation_that_did_not_end_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "b", rows("0" * 40), PLAN)
    report = judged(tmp_path, rows("0" * 40), rows("1" * 40))
    assert "ship/run-incomplete" in rules(report)


def test_what_is_no_results_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        judge_ship([ResultSet("e", "evaluation", {"base": tmp_path / "no", "tuned": tmp_path / "no"})], Options())
    write(tmp_path / "two/a", []), write(tmp_path / "two/b", [])
    with pytest.raises(FindingsError, match="several-results"):
        judge_ship([ResultSet("e", "evaluation", {"base": tmp_path / "two", "tuned": tmp_path / "two"})], Options())
    with pytest.raises(InputError, match="tolerance"):
        judge_ship([], Options(tolerance=2))
    report = judged(tmp_path / "bad", [{"video_id": "c0"}, 3], rows("1"))
    assert rules(report) >= {"results/key-missing", "results/not-object", "ship/no-pairs"}
    assert json.loads(report.model_dump_json(by_alias=True))["schema"] == "tao-run/ship/1"
