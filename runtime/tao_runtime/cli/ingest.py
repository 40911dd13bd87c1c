"""Commands that bring models and data here: prepare t5, videophy2, llava_ov, fetch; and access, which only asks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tao_runtime.cli.progress import counting

if TYPE_CHECKING:
    from tao_runtime.data.access import AccessFacts
    from tao_runtime.ingest.lock import HubLock
    from tao_runtime.preflight.report import Report
    from tao_runtime.spec.base import Spec as AnySpec

Spec = Annotated[Path, typer.Option("--spec", "-s", help="Spec file: YAML, TOML or JSON.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides: key.path=value", metavar="[KEY=VALUE]...")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Lock = Annotated[
    Path | None, typer.Option("--lock", help="Lock file of commits; default: hub.lock.json in --out, or here.")
]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for each answer of the hub.")]

TIMEOUT_S = 10.0  # of an answer of the hub

prepare = typer.Typer(
    help="Bring models and data here, in the layouts that specs name. Every command goes on where it was stopped.",
    no_args_is_help=True,
)


def access(
    spec: Spec,
    overrides: Overrides = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask nobody: prove that a run would fetch nothing, or say what it would.")
    ] = False,
    lock: Lock = None,
    timeout: Timeout = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Say of all that a spec needs of the hub whether it is here, and if not whether it may be had.

    Models, tokenizers, text encoders, data, and what libraries fetch without any key for it. Tells a token that is
    missing or refused (401) from a licence that is not accepted (403), and names its page. Asks HF_ENDPOINT where set.

    tao-run access --spec train.toml

    tao-run access --spec train.toml --offline
    """
    from tao_runtime.cli import show_ingest
    from tao_runtime.preflight.access import judge_access

    loaded, facts, _ = _look(spec, overrides or [], offline=offline, lock=lock, timeout=timeout)
    report = judge_access(facts, family=loaded.family, action=loaded.action)
    show_ingest.access(report, as_json=as_json)
    raise typer.Exit(int(report.exit_code))


def with_access(report: Report, spec: Path, overrides: list[str], *, offline: bool) -> Report:
    """Return a report with what `access` finds added; as it is where the spec itself could not be loaded."""
    from tao_runtime.preflight.access import judge_access
    from tao_runtime.preflight.report import from_findings, merged

    if report.spec_sha256 is None:
        return report
    loaded, facts, _ = _look(spec, overrides, offline=offline, lock=None, timeout=TIMEOUT_S)
    found = judge_access(facts, family=loaded.family, action=loaded.action)
    return merged(report, from_findings(found.findings, action=loaded.action, family=loaded.family))


@prepare.command("fetch")
def fetch_command(
    recipe: Annotated[Path, typer.Argument(help="A spec: a file of your own, or skills/*/assets/recipes/*.toml.")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to fetch to; default: the hub's cache.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be fetched, in bytes; fetch nothing.")
    ] = False,
    lock: Lock = None,
    timeout: Timeout = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Fetch model, tokenizer, text encoder and data of a recipe, at pinned commits.

    Says how many bytes first, and whether the disk holds them. A commit that nothing pins is written to the lock file,
    which later fetches obey. Ends with the key=value overrides that make the recipe use what came.

    tao-run prepare fetch recipe.toml --dry-run

    tao-run prepare fetch recipe.toml --out models
    """
    from tao_runtime.cli import show_ingest
    from tao_runtime.data.paths import refuse_file
    from tao_runtime.ingest.fetch import fetch, locked_repos, plan_fetch
    from tao_runtime.ingest.lock import NAME, add_to_lock

    if out is not None:
        refuse_file(out)
    place = lock or (out or Path()) / NAME
    refuse_file(place.parent, "--lock")
    loaded, facts, known = _look(recipe, overrides or [], offline=False, lock=place, timeout=timeout)
    plan = plan_fetch(facts, known, out=out, family=loaded.family, action=loaded.action)
    if not plan.ok or dry_run:
        show_ingest.fetch_plan(plan, as_json=as_json)
        raise typer.Exit(int(plan.exit_code))
    show_ingest.fetch_plan(plan, as_json=False, to_stderr=True)
    add_to_lock(place, locked_repos(plan))
    with counting("fetching, bytes") as progress:
        fetch(plan, facts.hub, out=out, progress=progress)
    loaded, facts, known = _look(recipe, overrides or [], offline=False, lock=place, timeout=timeout)
    plan = plan_fetch(facts, known, out=out, family=loaded.family, action=loaded.action)
    show_ingest.fetched(plan, place, as_json=as_json)
    raise typer.Exit(int(plan.exit_code))


@prepare.command("t5")
def t5_command(
    folder: Annotated[Path, typer.Argument(help="Folder with videos/ and metas/, or a JSONL with one clip a line.")],
    prompt: Annotated[str | None, typer.Option("--prompt", help="One caption for all clips that have none.")] = None,
    model: Annotated[str, typer.Option("--model", help="Encoder: org/name on the hub, or a folder.")] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Also what was converted and does not say its encoder.")
    ] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Captions at a time.")] = 16,
    as_json: Json = False,
) -> None:
    """Embed the captions of clips with T5, a safetensors file each in t5_xxl/, where training looks for them.

    A file says its caption and its encoder: one of another text or encoder is made again, the rest is left alone.
    Pickles of other trainers are read without running them, and converted; .pt files are loaded as weights only.

    tao-run prepare t5 datasets/robot

    tao-run prepare t5 datasets/robot --prompt "A video of sks teal robot." --model models/t5
    """
    from tao_runtime.cli import show_ingest
    from tao_runtime.engine.embed import Request, embed_captions
    from tao_runtime.spec.structured.world_hub import T5

    report = embed_captions(Request(folder, model or T5.repo, prompt, again, batch_size))
    show_ingest.embeddings(report, as_json=as_json)
    raise typer.Exit(int(report.exit_code))


@prepare.command("videophy2")
def videophy2_command(
    table: Annotated[
        str, typer.Argument(help="CSV, parquet or JSONL of rated videos; or org/name[@commit] of a data set.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to make: meta.json, media/, text/.")],
    file: Annotated[str, typer.Option("--file", help="Which table of the data set, if it has several.")] = "",
    score: Annotated[str, typer.Option("--score", help="Column that is learned: pc, sa or joint.")] = "pc",
    prompt: Annotated[
        str, typer.Option("--prompt", help="Question of every clip; default: one that fits the score.")
    ] = "",
    caption: Annotated[bool, typer.Option("--caption", help="Put the row's caption after the question.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first rows.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for a whole clip.")] = 60.0,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Clips at a time.")] = 8,
    max_failures: Annotated[
        float, typer.Option("--max-failures", min=0, max=1, help="Share of rows that may fail.")
    ] = 0.05,
    as_json: Json = False,
) -> None:
    """Make a VideoPhy-2 folder from its table: fetch the clips, write a conversation for each.

    Rows that fail are counted by reason and listed in failures.jsonl; the same command tries only those again. Every
    clip is opened before it counts.

    tao-run prepare videophy2 videophysics/videophy2_train --out examples/data/videophysics/videophy2_train

    tao-run prepare videophy2 videophysics/videophy2_test --out examples/data/videophysics/videophy2_val
    """
    from tao_runtime.cli import show_ingest
    from tao_runtime.ingest.tables import find_table
    from tao_runtime.ingest.videophy2 import Request, prepare_videophy2

    place = find_table(table, file=file)
    request = Request(place, out, score, prompt, caption, limit, timeout, workers, max_failures)
    with counting("clips") as progress:
        report = prepare_videophy2(request, progress)
    show_ingest.videophy2(report, as_json=as_json)
    raise typer.Exit(int(report.exit_code))


@prepare.command("llava_ov")
def llava_ov_command(
    source: Annotated[str, typer.Argument(help="org/name[@commit] of a data set, or a folder of its parquet files.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to fill with parquet files: DATASET_PATH of the recipe.")],
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows to bring. More may be asked for later.")],
    subset: Annotated[str, typer.Option("--subset", help="Which part of the data set, if it has several.")] = "",
    split: Annotated[str, typer.Option("--split")] = "train",
    text_rows: Annotated[bool, typer.Option("--text-rows", help="Also rows without a picture.")] = False,
    part_rows: Annotated[int, typer.Option("--part-rows", min=1, help="Rows of a file.")] = 1000,
    as_json: Json = False,
) -> None:
    """Stream rows of LLaVA-OneVision, or of any data set with its columns, into the folder that training reads.

    Only the rows that are wanted are brought, not the data set. Stopped, the same command goes on at the same row, at
    the same commit.

    tao-run prepare llava_ov lmms-lab/LLaVA-OneVision-Data --subset "ai2d(gpt4v)" --rows 4000 --out data/llava_ov
    """
    from tao_runtime.cli import show_ingest
    from tao_runtime.ingest.llava_ov import Request, stream_rows

    with counting("rows") as progress:
        state = stream_rows(Request(source, out, rows, subset, split, text_rows, part_rows), progress)
    show_ingest.streamed(state, out, as_json=as_json)


def _look(
    spec: Path, overrides: list[str], *, offline: bool, lock: Path | None, timeout: float
) -> tuple[AnySpec, AccessFacts, HubLock]:
    from tao_runtime.data.access import look_at_access
    from tao_runtime.data.hub import Hub
    from tao_runtime.ingest.lock import NAME, read_lock
    from tao_runtime.spec.load import load_spec

    loaded, known = load_spec(spec, overrides), read_lock(lock or Path(NAME))
    with counting("asking") as progress:
        facts = look_at_access(
            loaded, hub=Hub(timeout_s=timeout), offline=offline, locked=known.as_locked(), progress=progress
        )
    return loaded, facts, known
