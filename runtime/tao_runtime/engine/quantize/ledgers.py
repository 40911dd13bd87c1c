"""The ledgers of a quantisation: which records scales are measured on, and which both models answer. No torch here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tokenizers import Tokenizer

from tao_runtime.data.facts import Facts
from tao_runtime.data.families import PromptOptions
from tao_runtime.engine.progress import StepProgress
from tao_runtime.errors import Finding, FindingsError, Fix
from tao_runtime.plan.ledger import COLUMNS, Ledger, SampleRules, make_ledger
from tao_runtime.plan.model import QuantizePlan


def quantize_ledgers(plan: QuantizePlan, facts: Facts) -> dict[str, Ledger]:
    """Return the ledgers by label; that of calibration holds the chosen records only, spread over the file.

    Raises:
        FindingsError: too few records are short enough.
    """
    model = facts.models.get("base_model") or facts.models["model"]
    assert model.directory is not None, "the report passed"
    tokenizer = Tokenizer.from_file(str(model.directory / "tokenizer.json"))
    prompt = PromptOptions(plan.proof.prompt_format, plan.proof.system_prompt)
    ledgers: dict[str, Ledger] = {}
    for label, data, longest in (
        ("calibration", plan.calibration, plan.scheme.max_length),
        ("eval", plan.data, plan.model.max_length),
    ):
        if data is None:
            continue
        rules = SampleRules(plan.family, plan.proof.sampling, model.geometry, prompt, longest)
        with StepProgress(f"measure {label}", data.num_records or 0) as progress:
            ledgers[label] = make_ledger(data, facts.datasets[label], rules, tokenizer, on_record=progress.advance)
    if "calibration" in ledgers:
        ledgers["calibration"] = _chosen(ledgers["calibration"], plan)
    return ledgers


def _chosen(ledger: Ledger, plan: QuantizePlan) -> Ledger:
    """Return as many records as scales are measured on, evenly spread over those that are short enough."""
    want, longest = plan.scheme.samples, plan.scheme.max_length
    if len(ledger) < want:
        saw = f"{len(ledger):,} records of at most {longest:,} tokens, {len(ledger.too_long):,} are longer"
        fix = Fix(
            text="raise it, lower quantize.num_calibration_samples, or lower dataset.vision.nframes or total_pixels"
        )
        raise FindingsError(
            [
                Finding(
                    rule="quantize/too-long",
                    severity="error",
                    where="quantize.max_sequence_length",
                    saw=saw,
                    want=f"{want:,} calibration samples",
                    fix=fix,
                )
            ]
        )
    picked = np.linspace(0, len(ledger) - 1, want).round().astype(int)
    return replace(ledger, **{name: getattr(ledger, name)[picked] for name in COLUMNS})
