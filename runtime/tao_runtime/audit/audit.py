"""The audit of a path: find out what it is, look at all of it, and report. Files only; nothing in them is executed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tao_runtime.audit.codes import found
from tao_runtime.audit.dcp import is_sharded
from tao_runtime.audit.folder import Folder, open_folder
from tao_runtime.audit.look_checkpoint import check_pointer, is_checkpoint, look_at_checkpoint, look_at_shards
from tao_runtime.audit.look_model import is_adapter, is_model_config, look_at_adapter, look_at_model
from tao_runtime.audit.look_pipeline import look_at_pipeline
from tao_runtime.audit.model import CONFIG, PIPELINE
from tao_runtime.audit.pickles import look_at_pickles
from tao_runtime.audit.report import AuditReport, Part, make_report
from tao_runtime.audit.request import Request, Seen, read_base
from tao_runtime.audit.values import Progress
from tao_runtime.audit.weights import has_weights
from tao_runtime.data.commit import COMMIT, SAVING
from tao_runtime.errors import Finding, InputError

MAX_FOLDERS, MAX_DEPTH = 2_000, 6


def audit(
    path: str | Path,
    *,
    base: str | Path | None = None,
    values: bool | None = None,
    expect_unchanged: Sequence[str] = (),
    expect_changed: Sequence[str] = (),
    progress: Progress | None = None,
) -> AuditReport:
    """Audit what a trainer wrote: a model, an adapter, a pipeline, a checkpoint, or a folder of these.

    `values`: read the bytes of the weights. By default those of adapters, of the newest commit, and, with a base, of
    models. `expect_unchanged` and `expect_changed` name towers or modules; both need a base.

    Raises:
        InputError: a path does not exist, or something is expected and there is no base.
    """
    start = time.monotonic()
    target = _existing(path)
    request = Request(None, values, tuple(expect_unchanged), tuple(expect_changed), progress)
    findings: tuple[Finding, ...] = ()
    if base is not None:
        known, findings = read_base(_existing(base))
        request = replace(request, base=known)
    if (request.same or request.other) and (base is None or values is False):
        raise InputError("expect-changed and expect-unchanged read a base; want --base, and not --no-values")
    seen = Seen((), findings)
    if not findings:
        seen += _look(_folder_of(target), request)
    return make_report(
        seen.findings,
        seen.parts,
        path=str(path),
        base=None if base is None else str(base),
        seconds=time.monotonic() - start,
    )


def _existing(path: str | Path) -> Path:
    try:
        there = Path(path).exists()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error
    if not there:
        raise InputError(f"{path}: does not exist; want a folder or a weight file on this machine")
    return Path(path)


def _folder_of(path: Path) -> Folder:
    """Return a folder, or a file as the only one in its folder."""
    if path.is_dir():
        return open_folder(path)
    return Folder(path.parent, "", files=frozenset({path.name}))


def _look(root: Folder, request: Request) -> Seen:
    """Look at a folder and everything below it that is known."""
    if root.findings and not root.files and not root.folders:
        return Seen((), root.findings)
    if not root.files and not root.folders:
        return Seen((), (found("empty-folder", root.here, "no files", "what a trainer wrote"),))
    seen, has_tensors = Seen(), False
    for number, (folder, mine) in enumerate(_walk(root, request, 0), 1):
        if number > MAX_FOLDERS:
            saw = f"more than {MAX_FOLDERS:,} folders"
            return seen + Seen((), (found("too-many-files", root.here, saw, "a folder of one model"),))
        has_tensors = has_tensors or has_weights(folder)
        state, pickled = look_at_pickles(folder, beside=has_tensors)
        one = _one(folder, mine)
        parts = tuple(part.model_copy(update={"pickles": state}) if part.path == folder.label else part
                      for part in one.parts)  # fmt: skip
        if state and not parts:
            parts = (Part(path=folder.label, kind="unknown", pickles=state),)
        seen += Seen(parts, (*folder.findings, *one.findings, *pickled))
    if all(part.kind == "unknown" for part in seen.parts) and not seen.findings:
        saw = f"{len(root.files)} files and {len(root.folders)} folders of no known kind"
        return seen + Seen(
            (), (found("unrecognised", root.here, saw, "a model, an adapter, a pipeline, a checkpoint"),)
        )
    return seen


def _walk(folder: Folder, request: Request, depth: int) -> Iterator[tuple[Folder, Request]]:
    """Yield a folder and those below it, outer ones first; not the insides of pipelines and checkpoints."""
    yield folder, request
    if depth >= MAX_DEPTH or PIPELINE in folder.files or is_checkpoint(folder):
        return
    inner = request
    if request.base is None and {"model", "adapter"} <= folder.folders and CONFIG not in folder.files:
        # Beside an exported adapter lies the merged model: same names and shapes as the base it was trained on.
        beside, problems = read_base(folder.path / "model")
        inner = replace(request, base=beside if beside.weights.tensors and not problems else None)
    # One newest commit is read, the others are only measured.
    commits = [name for name in folder.folders if (folder.path / name / COMMIT).is_file()]
    for name in sorted(folder.folders):
        if name.startswith(".") and not name.startswith(SAVING):
            continue
        own = inner if name == "adapter" else request
        if name in commits and name != max(commits) and own.values is None:
            own = replace(own, values=False)
        yield from _walk(folder.sub(name), own, depth + 1)


def _one(folder: Folder, request: Request) -> Seen:
    """Look at a folder as what it is; a folder that is nothing gives nothing."""
    if PIPELINE in folder.files:
        return look_at_pipeline(folder, request)
    if is_checkpoint(folder):
        return look_at_checkpoint(folder, request, read=True)
    if is_sharded(folder):
        return look_at_shards(folder)
    seen = Seen((), tuple(check_pointer(folder)))
    if is_adapter(folder):
        return seen + look_at_adapter(folder, request)
    if has_weights(folder) or is_model_config(folder):
        return seen + look_at_model(folder, request)
    return seen
