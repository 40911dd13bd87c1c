"""What the ship gate says: a model against the one before it, set by set. Values only; `ship/` makes them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tao_runtime.errors import ExitCode, Finding, Frozen
from tao_runtime.score.answer import Kind
from tao_runtime.score.interval import Estimate

Verdict = Literal["better", "same", "worse", "cannot tell"]
Figure = Literal["accuracy", "token_f1"]
Model = Literal["base", "tuned", "quantised"]
Role = Literal["evaluation", "general"]


class Side(Frozen):
    """One model's answers to one set."""

    model: Model
    path: str | None = Field(default=None, description="weights that answered; null: no plan beside the results")
    results: str
    results_sha256: str
    rows: int
    estimate: Estimate = Field(description="its figure on the questions that all models answered")
    unparseable: int = Field(default=0, description="of those questions")
    missing: int = Field(default=0, description="of those questions: nothing was generated")


class SliceDifference(Frozen):
    """The difference on all questions of one wording with one ground truth."""

    question: str | None = Field(description="null: questions are all worded differently, so the truth alone counts")
    ground_truth: str
    before: float
    after: float
    difference: Estimate
    gained: int
    lost: int
    p: float = Field(description="exact sign test (McNemar) of gained against lost")
    p_adjusted: float = Field(description="adjusted for the number of slices (Holm)")


class Flip(Frozen):
    """A question whose answer changed for better or worse; `media` is the full path of its first medium."""

    id: str
    question: str
    ground_truth: str
    before: str | None
    after: str | None
    change: float = Field(description="after - before, -1 to 1")
    media: str | None = None


class Versus(Frozen):
    """One model against the one before it on one set: `after` minus `before`."""

    before: Model
    after: Model
    verdict: Verdict
    reason: str
    difference: Estimate
    p: float
    right_to_wrong: int
    wrong_to_right: int
    both_right: int
    both_wrong: int
    needed: int | None = Field(default=None, description="questions that would tell; null: it is told, or none would")
    slices: tuple[SliceDifference, ...] = Field(default=(), description="worst first")
    num_slices: int = 0
    num_changed: int = Field(description="questions whose figure changed")
    flips: tuple[Flip, ...] = Field(default=(), description="examples, lost ones first")


class SetReport(Frozen):
    """All comparisons on one set of questions."""

    name: str
    role: Role = Field(description="evaluation: what was tuned for; general: what must not be forgotten")
    kind: Kind
    figure: Figure
    n: int = Field(description="questions that all models answered, in pairs")
    clips: int = Field(description="distinct media among them; questions about one clip are not independent")
    sides: tuple[Side, ...]
    versus: tuple[Versus, ...]


class ShipReport(Frozen):
    """The verdict, and what it rests on."""

    schema_version: Literal["tao-run/ship/1"] = Field(default="tao-run/ship/1", alias="schema")
    ok: bool = Field(description="no finding of severity error")
    verdict: Verdict = Field(description="worst of the sets: worse, cannot tell; else better if the evaluation is")
    reason: str
    tolerance: float = Field(description="differences up to this do not matter")
    sets: tuple[SetReport, ...]
    findings: tuple[Finding, ...] = ()
    page: str | None = Field(default=None, description="the page, beside this file")

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.DONE if self.ok else ExitCode.FINDINGS
