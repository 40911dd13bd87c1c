"""The rules that results and annotations are held to when gaps are looked for."""

from __future__ import annotations

from tao_runtime.data.fold import RuleInfo
from tao_runtime.score import results

_JOIN = "a failure is joined to its clip by id; upstream joins by the last of several and stops at the first fault"

SEVERAL = RuleInfo("gaps/several-results", "error", "One results.json, or the path of one.", _JOIN)
NULL_ANSWER = RuleInfo("gaps/answer-null", "error", "Every row has an answer; null is counted as unparseable.", _JOIN)
NO_TRUTH = RuleInfo("gaps/truth-empty", "error", "Every row has a ground truth; without one it is not judged.", _JOIN)
DUPLICATE = RuleInfo("gaps/result-duplicate", "error", "One row per annotation; later ones are not counted.", _JOIN)
UNKNOWN_ID = RuleInfo("gaps/id-unknown", "error", "Every row's id is in the annotations.", _JOIN)
UNANSWERED = RuleInfo("gaps/result-missing", "error", "Every annotation has a row; it is counted as MISSING.", _JOIN)
NOT_OBJECT = RuleInfo("gaps/annotation-not-object", "error", "Every annotation is an object.", _JOIN)
NO_ID = RuleInfo("gaps/annotation-id-missing", "error", "Every annotation has an id.", _JOIN)
SAME_ID = RuleInfo(
    "gaps/annotation-id-duplicate", "warning", "Ids are unique; else media and question tell rows apart.", _JOIN
)
AMBIGUOUS = RuleInfo("gaps/id-ambiguous", "error", "A row of a repeated id must point at one clip.", _JOIN)
NO_MEDIA = RuleInfo("gaps/annotation-media-missing", "error", "An annotation names its media.", _JOIN)
OUTSIDE = RuleInfo("gaps/media-outside", "error", "Media lie inside the media root.", _JOIN)
NO_FILE = RuleInfo("gaps/media-not-found", "warning", "The clip of a failure exists.", _JOIN)
NO_KIND = RuleInfo("gaps/kinds-mixed", "warning", "All ground truths are of one kind; else all are text.", _JOIN)

RULES: tuple[RuleInfo, ...] = (
    *results.RULES,
    *(SEVERAL, NULL_ANSWER, NO_TRUTH, DUPLICATE, UNKNOWN_ID, UNANSWERED, NOT_OBJECT, NO_ID, SAME_ID, AMBIGUOUS),
    *(NO_MEDIA, OUTSIDE, NO_FILE, NO_KIND),
)
