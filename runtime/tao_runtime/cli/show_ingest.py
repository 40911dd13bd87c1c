"""Rendering of what is here and what is fetched. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tao_runtime.cli.show import COLOURS
from tao_runtime.errors import Finding
from tao_runtime.ingest.embeddings import EmbeddingReport
from tao_runtime.ingest.fetch import FetchPlan
from tao_runtime.ingest.llava_ov import StreamState
from tao_runtime.ingest.videophy2 import VideoPhy2Report
from tao_runtime.preflight.access import AccessReport, AssetLine


def size(count: int | None) -> str:
    """Return bytes as people read them; ? where the hub does not say."""
    if count is None:
        return "?"
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            return f"{count / (1 << power):.1f} {unit}"
    return f"{count} B"


def print_findings(findings: Iterable[Finding], console: Console) -> None:
    for finding in findings:
        console.print(Text(finding.render(), style=COLOURS[finding.severity]), soft_wrap=True)


def access(report: AccessReport, *, as_json: bool) -> None:
    """Print a line for each thing, then what stands in the way."""
    if as_json:
        print(report.model_dump_json(by_alias=True, indent=1))
        return
    console = Console(highlight=False)
    for line in report.assets:
        console.print(_asset(line), soft_wrap=True)
    print_findings(report.findings, console)
    where = "asked nobody" if report.offline else report.endpoint
    token = f"token in {report.token}" if report.token else "no token"
    console.print(
        Text(f"{'ok' if report.ok else 'not ok'}: {where}, {token}", style="green" if report.ok else "bold red")
    )


def _asset(line: AssetLine) -> str:
    """Return what is known of a thing: where it is, what it is, who names it, what the hub says."""
    here = line.here if line.here != "cached" or line.proven else "cached, by its own files"
    at = f"@{line.revision[:8]}" if line.revision else ""
    facts = [f"{line.key or 'a library'}", "" if line.access is None else f"hub: {line.access}"]
    facts += ["gated" if line.gated else "", "" if line.bytes is None else size(line.bytes)]
    if line.here in {"no", "partly"} and line.bytes_to_fetch is not None:
        facts.append(f"{size(line.bytes_to_fetch)} to fetch")
    return f"{here:>8}  {line.role}: {line.repo or line.path}{at} ({', '.join(fact for fact in facts if fact)})"


def fetch_plan(plan: FetchPlan, *, as_json: bool, to_stderr: bool = False) -> None:
    """Print what would be fetched."""
    if as_json:
        print(plan.model_dump_json(by_alias=True, indent=1))
        return
    console = Console(stderr=to_stderr, highlight=False)
    for item in plan.items:
        here = f"{item.present} of {len(item.files)} files here"
        left = "left to another command" if item.left else f"{size(item.bytes_to_fetch)} to fetch"
        at = f"{item.repo}@{item.revision[:12]} (commit by {item.pinned_by})"
        console.print(f"{left:>18}  {at}: {size(item.bytes)}, {here}", soft_wrap=True)
    for item in plan.items:
        if item.note:
            console.print(Text(f"{item.repo}: {item.note}"), soft_wrap=True)
    print_findings(plan.findings, console)
    console.print(
        f"{size(plan.bytes_to_fetch):>9} to fetch into {plan.target}, {size(plan.free_disk_bytes)} free", soft_wrap=True
    )


def fetched(plan: FetchPlan, lock: Path, *, as_json: bool) -> None:
    """Print what came, and how a spec uses it."""
    if as_json:
        print(plan.model_dump_json(by_alias=True, indent=1))
        return
    print(f"all files are in {plan.target}; commits in {lock}" if plan.done else f"not all files came to {plan.target}")
    if plan.overrides:
        print("use them with: " + " ".join(plan.overrides))


def embeddings(report: EmbeddingReport, *, as_json: bool) -> None:
    """Print what was embedded."""
    if as_json:
        print(report.model_dump_json(by_alias=True, indent=1))
        return
    print_findings(report.findings, Console(highlight=False))
    cut = f", {report.cut:,} of them cut" if report.cut else ""
    print(f"{report.folder}: {report.embedded:,} embedded{cut}, {report.converted:,} converted, {report.kept:,} kept")


def videophy2(report: VideoPhy2Report, *, as_json: bool) -> None:
    """Print what was made."""
    if as_json:
        print(report.model_dump_json(by_alias=True, indent=1))
        return
    for reason, count in report.failures.items():
        print(f"{count:>8,}  {reason}")
    print_findings(report.findings, Console(highlight=False))
    print(f"{report.folder}: {report.clips:,} clips of {report.rows:,} rows ({report.kept:,} were there)")


def streamed(state: StreamState, out: Path, *, as_json: bool) -> None:
    """Print how many rows there are."""
    if as_json:
        print(state.model_dump_json(by_alias=True, indent=1))
        return
    left = "".join(f"; left out {count:,}: {reason}" for reason, count in state.left_out.items())
    end = ", which are all there are" if state.ended else ""
    print(f"{out}: {state.rows:,} rows in {state.parts:,} files{end}{left}")
