"""Preflight: what is judged before a GPU-hour is spent, from (spec, facts, plan). The rules are in `rules/`."""
