"""results.json survives a round trip, and says which row is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tao_runtime.data.fold import Collector
from tao_runtime.errors import FindingsError, InputError
from tao_runtime.score.results import Result, find_results, parse_row, read_results, write_results

ROW = {"video_id": "a", "response": "yes", "question": "Is it?", "gt": "yes"}


def test_round_trip(tmp_path: Path) -> None:
    rows = [Result(**ROW), Result(**{**ROW, "response": None, "question": "Tür? 停"}, id="7", error_type="MISSING")]
    assert write_results(iter(rows), tmp_path / "results.json") == 2
    assert list(read_results(tmp_path / "results.json")) == rows
    assert isinstance(json.loads((tmp_path / "results.json").read_text("utf-8")), list)


def test_no_rows_are_an_empty_list(tmp_path: Path) -> None:
    write_results([], tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == []


def test_a_failure_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    write_results([Result(**ROW)], tmp_path / "results.json")

    def broken() -> Iterator[Result]:
        yield Result(**ROW)
        raise RuntimeError("the model died")

    with pytest.raises(RuntimeError):
        write_results(broken(), tmp_path / "results.json")
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert len(list(read_results(tmp_path / "results.json"))) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1], "results/not-object"),
        ({**ROW, "gt": None}, "gt: null; want a string"),
        ({**ROW, "response": True}, "response: true; want a string or null"),
        ({"response": "yes", "question": "?", "gt": "yes"}, "results/id-missing"),
        ({"video_id": "a", "gt": "yes"}, "no 'response'; want the keys video_id, response, question, gt"),
        ({**ROW, "correct": "yes"}, "correct: 'yes'; want true, false or null"),
    ],
)
def test_a_row_that_is_none_says_why(value: object, message: str) -> None:
    faults = Collector(where="results.json", file="results.json")
    assert parse_row(4, value, faults) is None
    assert all(finding.record == 4 for finding in faults.findings())
    assert message in "\n".join(finding.render() for finding in faults.findings())


def test_foreign_keys_and_number_ids_are_accepted() -> None:
    faults = Collector(where="results.json", file="results.json")
    row = parse_row(0, {**ROW, "video_id": 12, "latency": 3}, faults)
    assert row is not None
    assert (row.key, faults.findings()) == ("12", ())


def test_reading_stops_at_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps([ROW, 3]))
    with pytest.raises(FindingsError, match="record 1"):
        list(read_results(tmp_path / "results.json"))


def test_results_are_found_at_any_depth(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no results\.json"):
        find_results(tmp_path)
    write_results([], tmp_path / "a" / "b" / "results.json")
    assert find_results(tmp_path) == (tmp_path / "a" / "b" / "results.json",)
    assert find_results(tmp_path / "a" / "b" / "results.json") == find_results(tmp_path)
