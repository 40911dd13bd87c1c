"""The page: the report as one HTML file that needs nothing else, no script and no network."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from tao_runtime.score.interval import Estimate
from tao_runtime.score.ship import ShipReport, SliceDifference, Verdict, Versus

MOST_PICTURES = 48  # on a page
MOST_SLICES = 12  # of a comparison on the page; ship.json has more
MARKS: Mapping[Verdict, str] = {"better": "▲", "same": "=", "worse": "▼", "cannot tell": "?"}
WORDS: Mapping[Verdict, str] = {
    "better": "Better: ship it",
    "same": "The same: nothing gained, nothing lost",
    "worse": "Worse: do not ship it",
    "cannot tell": "Cannot tell yet",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A difference as a row of the forest plot: where things lie, in per cent of the width."""

    point: float
    low: float
    high: float
    verdict: Verdict | None = None

    @property
    def width(self) -> float:
        return round(self.high - self.low, 3)


class Scale:
    """From a difference to a place on the plot: zero is in the middle, and the widest interval fits."""

    def __init__(self, differences: list[Estimate], tolerance: float) -> None:
        ends = [abs(end) for d in differences for end in (d.low, d.high) if end is not None]
        self.reach = min(1.0, _round_up(max([*ends, 2 * tolerance, 0.05])))
        self.band = Bar(50.0, self.place(-tolerance), self.place(tolerance))
        self.ticks = tuple(
            (self.place(share * self.reach), f"{share * self.reach:+.0%}" if share else "0")
            for share in (-1, -0.5, 0, 0.5, 1)
        )

    def place(self, value: float) -> float:
        return round(min(100.0, max(0.0, 50 + 50 * value / self.reach)), 3)

    def bar(self, each: Versus | SliceDifference) -> Bar | None:
        """Return the row of a comparison or a slice; None where nothing was measured."""
        d = each.difference
        if d.value is None or d.low is None or d.high is None:
            return None
        verdict = each.verdict if isinstance(each, Versus) else None
        return Bar(self.place(d.value), self.place(d.low), self.place(d.high), verdict)


def render_page(report: ShipReport, pictures: Mapping[str, str]) -> str:
    """Return the page; `pictures`: path of a medium -> data URI. Everything else is text, and is escaped."""
    every = [versus for each in report.sets for versus in each.versus]
    environment = Environment(
        loader=PackageLoader("tao_runtime.ship", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(shown=shown, sentence=sentence, percent=percent, signed=signed)
    sides = [side for each in report.sets for side in each.sides]
    slices = [each.difference for versus in every for each in versus.slices[:MOST_SLICES]]
    return environment.get_template("page.html.jinja").render(
        report=report,
        pictures=pictures,
        models=tuple(dict.fromkeys(side.model for side in sides)),
        weights=tuple(dict.fromkeys((side.model, side.path) for side in sides if side.path)),
        marks=MARKS,
        words=WORDS,
        scale=Scale([versus.difference for versus in every], report.tolerance),
        slice_scale=Scale(slices, report.tolerance),
        most_slices=MOST_SLICES,
    )


def shown(text: str) -> str:
    """Make visible what would not be seen, or would turn the line around: control and format characters."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") else f"\\u{ord(char):04x}"
        for char in text
    )


def sentence(text: str) -> str:
    """Begin with a capital, and leave the rest as it is."""
    return text[:1].upper() + text[1:]


def percent(figure: Estimate) -> str:
    """`81.0 % [73.1 to 87.0]`; a dash where nothing was measured."""
    if figure.value is None:
        return "–"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.1%}"
    return f"{figure.value:.1%} [{100 * figure.low:.1f} to {100 * figure.high:.1f}]"


def signed(figure: Estimate) -> str:
    """`+8.0 [-0.2 to +15.9]`, in points."""
    if figure.value is None or figure.low is None or figure.high is None:
        return "–"
    return f"{100 * figure.value:+.1f} [{100 * figure.low:+.1f} to {100 * figure.high:+.1f}]"


def _round_up(value: float) -> float:
    """Next of 0.05, 0.1, 0.2, 0.5, 1."""
    return next((step for step in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8) if value <= step), 1.0)
