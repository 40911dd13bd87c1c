"""What a rule or a key of a spec means, for `tao-run explain`."""

from __future__ import annotations

import difflib

from tao_runtime.errors import InputError
from tao_runtime.preflight.rules import RULES
from tao_runtime.spec.explain import explain


def explain_any(name: str, *, family: str | None = None) -> str:
    """Return the explanation of a rule (`family/rule`) or of a key. Raises InputError if there is neither."""
    if name in RULES:
        rule = RULES[name]
        return f"{rule.name}  ({rule.severity})\n  {rule.doc}\n  Source: {rule.source}"
    if "/" in name:
        close = difflib.get_close_matches(name, RULES, n=1, cutoff=0.8)
        want = (
            close[0] if close else "one of the skill's references/rules.md; a finding of a run says itself what to do"
        )
        raise InputError(f"{name}: no rule of the preflight; want {want}")
    return explain(name, family=family)
