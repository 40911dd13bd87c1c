"""The collector keeps twenty findings of a rule and counts the rest; only errors make a record unusable."""

import pytest

from tao_runtime.data.fold import At, Collector, RuleInfo, quote

ERROR = RuleInfo("x/error", "error", "doc", "source")
WARNING = RuleInfo("x/warning", "warning", "doc", "source")


def test_twenty_are_kept_and_the_rest_is_counted() -> None:
    collector = Collector(where="key", file="a.json")
    for record in range(1254):
        collector.add(ERROR, f"saw {record}", "want", at=At(record))
    collector.add(WARNING, "one", "none", at=At(0))
    findings = collector.findings()
    assert [finding.saw for finding in findings[:20]] == [f"saw {record}" for record in range(20)]
    assert [finding.saw for finding in findings[20:]] == ["one", "and 1,234 more"]


def test_only_an_error_fails_a_record() -> None:
    collector = Collector(where="key", file="a.json")
    collector.add(WARNING, "saw", "want", at=At(0))
    assert not collector.failed
    collector.add(ERROR, "saw", "want", at=At(0))
    assert collector.failed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "null"),
        ("a", "'a'"),
        ("\ud800\n", '"\\ud800\\n"'),
        (1.5, "1.5"),
        ("x" * 99, "'" + "x" * 56 + "..."),
    ],
)
def test_values_are_shown_short_and_printable(value: object, text: str) -> None:
    assert quote(value) == text
