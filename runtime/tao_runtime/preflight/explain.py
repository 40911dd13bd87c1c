"""What a rule or a key of a spec means, for `tao-run explain`."""

from __future__ import annotations

from tao_runtime.preflight.rule import RULES
from tao_runtime.spec.explain import explain


def explain_any(name: str, *, family: str | None = None) -> str:
    """Return the explanation of a rule (`family/rule`) or of a key. Raises InputError if there is neither."""
    if name in RULES:
        rule = RULES[name]
        return f"{rule.name}  ({rule.severity})\n  {rule.doc}\n  Source: {rule.source}"
    return explain(name, family=family)
