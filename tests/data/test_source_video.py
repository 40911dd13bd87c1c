"""Where a clip was cut from: what names and records say, and what they do not."""

from __future__ import annotations

import pytest

from tao_runtime.data.fold import Collector
from tao_runtime.data.source_video import Cut, SourceFold, cut_of_name


@pytest.mark.parametrize(
    ("stem", "want"),
    [
        ("vJk3x9Q_10_20", Cut("vJk3x9Q", 10, 20)),
        ("vJk3x9Q_000010_000020", Cut("vJk3x9Q", 10, 20)),
        ("drive-0412b_12.5-20.25", Cut("drive-0412b", 12.5, 20.25)),
        ("drive-0412b_part3", Cut("drive-0412b")),
        ("drive-0412b_0007", Cut("drive-0412b")),
        ("drive-0412b", Cut("drive-0412b")),
        ("clip_0", None),
        ("clip_0_16", None),
        ("train_000123", None),
        ("000123", None),
        ("warehouse_12", None),
        ("video_20240131093012", Cut("video_20240131093012")),
    ],
)
def test_names(stem: str, want: Cut | None) -> None:
    assert cut_of_name(stem) == want


def test_overlap_is_symmetric_and_touching_is_none() -> None:
    first, second, third = Cut("a", 0, 10), Cut("a", 9, 12), Cut("a", 10, 12)
    assert first.overlaps(second) and second.overlaps(first)
    assert not first.overlaps(third) and not first.overlaps(Cut("a")) and not first.overlaps(Cut("b", 0, 10))


def test_records_say_where_they_are_from() -> None:
    fold, findings = SourceFold(), Collector(where="x", file="y")
    for index, record in enumerate(
        [{"source_video": "abc", "start": 1, "end": 2.5}, {"start_time": 3, "end_time": True}, {"id": 3}]
    ):
        fold.see(index, record, findings)
    assert fold.cuts == {0: Cut("abc", 1.0, 2.5)}
