"""The report: what `check` says of a run before it starts, for a person and for a machine."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field, JsonValue

from tao_runtime.data.facts import DatasetFacts, Facts
from tao_runtime.data.fold import MAX_PER_RULE
from tao_runtime.data.packages import installed
from tao_runtime.errors import ExitCode, Finding, Frozen

# Of these, versions are told: they decide how data are read and how a run computes.
ENVIRONMENT = (
    *("tao-run", "torch", "transformers", "diffusers", "peft", "accelerate"),
    *("av", "numpy", "pillow", "tokenizers"),
)
ORDER = {"error": 0, "warning": 1, "note": 2}


class Counts(Frozen):
    """How much was looked at, and what was found."""

    records: int = 0
    usable: int = Field(default=0, description="records without an error")
    media: int = Field(default=0, description="distinct files")
    decoded: int = Field(default=0, description="files whose sampled frames were decoded, not only their headers read")
    errors: int = 0
    warnings: int = 0
    notes: int = 0


class Report(Frozen):
    """All findings at once, none repeated more than 20 times per rule and file."""

    schema_version: Literal["tao-run/report/1"] = Field(default="tao-run/report/1", alias="schema")
    ok: bool = Field(description="no finding of severity error")
    action: str
    family: str
    spec_sha256: str | None = Field(description="null: the spec itself could not be loaded")
    findings: tuple[Finding, ...]
    counts: Counts
    facts: dict[str, JsonValue] = Field(default_factory=dict, description="a summary of what was seen")

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.DONE if self.ok else ExitCode.FINDINGS

    def render(self) -> str:
        """Return the text form: a line for each finding, then one that says how it stands."""
        counts = self.counts
        what = f"{self.family} {self.action}".strip()
        decoded = f" ({counts.decoded:,} decoded)" if counts.decoded else ""
        seen = f", {counts.records:,} records, {counts.media:,} media{decoded}" if counts.records else ""
        found = f"{counts.errors} errors, {counts.warnings} warnings, {counts.notes} notes"
        last = f"{'ok' if self.ok else 'not ok'}: {what}{seen}; {found}"
        return "\n".join([*(finding.render() for finding in self.findings), last])


def from_findings(
    findings: Iterable[Finding], *, action: str, family: str, spec_sha256: str | None = None, facts: Facts | None = None
) -> Report:
    """Make a report; without facts, of a spec that could not be loaded."""
    kept = _cap(sorted(findings, key=lambda finding: ORDER[finding.severity]))
    number = Counter(finding.severity for finding in kept)
    datasets = facts.datasets.values() if facts else ()
    counts = Counts(
        records=sum(data.num_records for data in datasets),
        usable=sum(data.num_usable for data in datasets),
        media=len({header.path for data in datasets for header in data.media if header})
        + sum(header is None for data in datasets for header in data.media),
        decoded=facts.num_decoded if facts else 0,
        errors=number["error"],
        warnings=number["warning"],
        notes=number["note"],
    )
    return Report(
        ok=not number["error"],
        action=action,
        family=family,
        spec_sha256=spec_sha256,
        findings=kept,
        counts=counts,
        facts=dict(_summary(facts)) if facts else {},
    )


def _cap(findings: list[Finding]) -> tuple[Finding, ...]:
    """Keep 20 findings of a rule in a file, and a count of the rest where the data floor has not counted already."""
    kept: list[Finding] = []
    seen: Counter[tuple[str, str | None]] = Counter()
    last: dict[tuple[str, str | None], Finding] = {}
    for finding in findings:
        key = (finding.rule, finding.file)
        seen[key] += 1
        if seen[key] <= MAX_PER_RULE or finding.saw.startswith("and "):
            kept.append(finding)
        else:
            last[key] = finding
    for key, finding in last.items():
        saw = f"and {seen[key] - MAX_PER_RULE:,} more"
        kept.append(finding.model_copy(update={"saw": saw, "want": "none of them", "record": None, "fix": None}))
    return tuple(sorted(kept, key=lambda finding: ORDER[finding.severity]))


def _summary(facts: Facts) -> Mapping[str, JsonValue]:
    host = facts.host
    return {
        "host": {
            "gpus": host.num_gpus,
            "gpu_memory_bytes": host.gpu_memory_bytes,
            "cpus": host.num_cpus,
            "memory_bytes": host.memory_bytes,
            "free_disk_bytes": host.free_disk_bytes,
            "world_size": host.world_size,
        },
        "environment": dict(installed(ENVIRONMENT)),
        "models": {
            label: {
                "location": model.location,
                "local": model.directory is not None,
                "parameters": model.num_parameters,
                "weight_bytes": model.weight_bytes,
                "weights_sha256": model.weights_sha256,
                "files_sha256": model.files_sha256,
                "video_processor": model.geometry.processor,
            }
            for label, model in facts.models.items()
        },
        "datasets": {
            label: {
                "annotation": str(data.annotation),
                "media_root": str(data.media_root),
                "sha256": data.sha256,
                "records": data.num_records,
                "usable": data.num_usable,
                "media": len(data.media),
                "media_sha256": media_sha256(data),
            }
            for label, data in facts.datasets.items()
        },
        "trained_on": [
            {
                "run": str(told.run),
                "annotation": str(told.data.annotation) if told.data is not None else None,
                "compared": told.data.num_records - len(told.left_out) if told.data is not None else 0,
                "trouble": told.trouble,
            }
            for told in facts.trained_on
        ],
    }


def media_sha256(data: DatasetFacts) -> str:
    """Return a digest of path, size and time of change of every medium of a data set."""
    digest = hashlib.sha256()
    for header in data.media:
        digest.update(f"{header and (str(header.path), header.size_bytes, header.mtime_ns)}\n".encode())
    return digest.hexdigest()


def merged(report: Report, other: Report) -> Report:
    """Add the findings of another report to one."""
    counts = report.counts.model_copy(
        update={
            name: getattr(report.counts, name) + getattr(other.counts, name) for name in ("errors", "warnings", "notes")
        }
    )
    findings = tuple(sorted((*report.findings, *other.findings), key=lambda finding: ORDER[finding.severity]))
    return report.model_copy(update={"ok": report.ok and other.ok, "findings": findings, "counts": counts})
