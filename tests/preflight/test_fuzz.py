"""Whatever a spec or a data file holds, a check ends with a report or a refusal; one seeded generator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from fuzz import Corpus, Fuzz

CASES, IN_CI = 100_000, 2_000
BROKEN = (25067, 26044, 30293, 36197, 44347, 48245, 54217, 57205)


@pytest.fixture
def fuzz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fuzz:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return Fuzz(Corpus.make(tmp_path / "corpus"), tmp_path / "scratch")


def broken(fuzz: Fuzz, cases: Iterable[int]) -> list[str]:
    return [wrong for number in cases if (wrong := fuzz.run(number))]


@pytest.mark.parametrize("part", range(4))
def test_two_thousand_cases_end_in_time_with_a_report_or_a_refusal(fuzz: Fuzz, part: int) -> None:
    share = IN_CI // 4
    assert broken(fuzz, range(part * share, (part + 1) * share)) == []
    assert {"report", "data report", "repaired", "InputError", "FindingsError"} <= set(fuzz.outcomes)


def test_what_a_hundred_thousand_cases_broke_holds_now(fuzz: Fuzz) -> None:
    """Clips without a name, null bytes and names too long in paths, a number of frames that a table was made of."""
    assert broken(fuzz, BROKEN) == []


@pytest.mark.slow
def test_a_hundred_thousand_cases(fuzz: Fuzz) -> None:
    assert broken(fuzz, range(IN_CI, CASES)) == []


def test_the_generator_can_fail(fuzz: Fuzz, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that raises something else, or says too much, is a case that breaks the law."""
    monkeypatch.setattr("fuzz.prepare", lambda *args, **options: 1 / 0)
    assert "ZeroDivisionError" in "".join(broken(fuzz, range(20)))
    monkeypatch.setattr("fuzz.MAX_OUTPUT", 10)
    assert "characters of output" in "".join(broken(fuzz, range(20)))


def test_a_case_is_the_same_each_time(fuzz: Fuzz) -> None:
    written = []
    for _ in range(2):
        fuzz.run(3)
        written.append({path.name: path.read_bytes() for path in fuzz.scratch.iterdir() if path.is_file()})
    assert written[0] == written[1]


def test_a_case_that_takes_all_memory_is_broken(fuzz: Fuzz, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.prepare", lambda *args, **options: bytearray(8 << 30))
    assert "MemoryError" in "".join(broken(fuzz, range(20)))
