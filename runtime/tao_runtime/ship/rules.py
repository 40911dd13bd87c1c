"""The rules that results are held to when two models are compared."""

from __future__ import annotations

from tao_runtime.data.fold import RuleInfo

_PAIRS = "a difference is measured on the same questions, each answered once by each model"
_MANIFEST = "evaluations that differ in frames or prompt differ by 2 to 10 points with the same model"
_GATE = "a tuned model is worse than its base more often than anybody notices"

SEVERAL = RuleInfo("ship/several-results", "error", "One results.json, or the path of one.", _PAIRS)
MISSING = RuleInfo("ship/record-missing", "error", "Every question that one model answered, the others did.", _PAIRS)
DUPLICATE = RuleInfo("ship/record-duplicate", "error", "A question is answered once.", _PAIRS)
QUESTION = RuleInfo("ship/question-differs", "error", "A record asks all models the same.", _PAIRS)
TRUTH = RuleInfo("ship/truth-differs", "error", "A record has one ground truth.", _PAIRS)
MEDIA = RuleInfo("ship/media-differs", "error", "A record shows all models the same clip.", _PAIRS)
NO_TRUTH = RuleInfo("ship/truth-empty", "error", "Every row has a ground truth; without one it is not judged.", _PAIRS)
NO_PAIRS = RuleInfo("ship/no-pairs", "error", "The models answered some questions in common.", _PAIRS)
INCOMPLETE = RuleInfo("ship/run-incomplete", "error", "The results are of a run that was completed.", _MANIFEST)
DATA = RuleInfo("ship/data-differs", "error", "All models were asked from the same annotations.", _MANIFEST)
FRAMES = RuleInfo("ship/frames-differ", "error", "All models saw the same frames.", _MANIFEST)
PROMPT = RuleInfo("ship/prompt-differs", "warning", "All models were asked with the same prompt.", _MANIFEST)
GENERATION = RuleInfo("ship/generation-differs", "warning", "Answers were generated alike.", _MANIFEST)
SAME_MODEL = RuleInfo("ship/same-model", "error", "Two different models are compared.", _MANIFEST)
IDENTICAL = RuleInfo("ship/answers-identical", "warning", "Other weights give some other words.", _GATE)
WORSE = RuleInfo("ship/worse", "error", "No set is worse than before.", _GATE)
CANNOT_TELL = RuleInfo("ship/cannot-tell", "warning", "The set is large enough for a verdict.", _GATE)
SLICE = RuleInfo("ship/slice-worse", "warning", "No slice is worse, even where the whole set is better.", _GATE)
UNPARSEABLE = RuleInfo("ship/unparseable", "warning", "Nearly all answers can be read.", _GATE)
NO_GENERAL = RuleInfo("ship/no-general-set", "warning", "What must not be forgotten is asked too.", _GATE)
NO_THUMBNAIL = RuleInfo("ship/media-not-found", "note", "The clips of the examples can be shown.", _GATE)

RULES: tuple[RuleInfo, ...] = (
    *(SEVERAL, MISSING, DUPLICATE, QUESTION, TRUTH, MEDIA, NO_TRUTH, NO_PAIRS, INCOMPLETE, DATA, FRAMES, PROMPT),
    *(GENERATION, SAME_MODEL, IDENTICAL, WORSE, CANNOT_TELL, SLICE, UNPARSEABLE, NO_GENERAL, NO_THUMBNAIL),
)
