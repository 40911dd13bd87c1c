"""Looking at checkpoints: commits of this package's runs, and folders of torch's distributed checkpoint of others."""

from __future__ import annotations

from pydantic import ValidationError

from tao_runtime.audit.codes import found, some
from tao_runtime.audit.dcp import Shards, is_sharded, read_shards
from tao_runtime.audit.folder import Folder, locate, shorten
from tao_runtime.audit.header import Tensor
from tao_runtime.audit.report import Part
from tao_runtime.audit.request import Request, Seen
from tao_runtime.audit.values import read_values
from tao_runtime.data.commit import COMMIT, NAME, POINTER, SAVING, Commit, damage
from tao_runtime.errors import Finding

MAX_COMMIT_BYTES = 64 << 20
MODEL = "model"
# Small parts that only runs of this package write: without a COMMIT, such a checkpoint was being written.
_OURS = ("dataloader", "cursor.json")


def is_checkpoint(folder: Folder) -> bool:
    """Tell a checkpoint of several parts: by its COMMIT, its name, or a sharded model in it."""
    if COMMIT in folder.files or NAME.match(folder.path.name) or folder.path.name.startswith(SAVING):
        return True
    return MODEL in folder.folders and is_sharded(folder.sub(MODEL))


def look_at_shards(folder: Folder) -> Seen:
    """Audit one folder of a distributed checkpoint."""
    shards = read_shards(folder)
    return Seen((_part(folder, shards, {"": shards}, committed=None),), shards.findings)


def look_at_checkpoint(folder: Folder, request: Request, *, read: bool) -> Seen:
    """Audit a checkpoint of several parts; `read`: compare the content of every file with its COMMIT."""
    findings: list[Finding] = []
    parts: dict[str, Shards] = {}
    for name in sorted(folder.folders):
        sub = folder.sub(name)
        findings.extend(sub.findings)
        if is_sharded(sub):
            parts[name] = read_shards(sub)
            findings.extend(parts[name].findings)
    if MODEL not in parts:
        findings.append(found("dcp-part-missing", folder.here, "no sharded model", f"{MODEL}/ with its shards"))
    committed = None
    if COMMIT in folder.files:
        problems, committed = _commit(folder, request, read=read)
        findings.extend(problems)
    elif folder.path.name.startswith(SAVING) or _OURS[0] in folder.folders:
        committed = False
        findings.append(found("commit-missing", folder.here, f"no {COMMIT}", f"{COMMIT}, written when a save is whole"))
    part = _part(folder, parts.get(MODEL, Shards()), parts, committed=committed)
    values_read = bool(committed) and read and request.values is not False
    return Seen((part.model_copy(update={"values_read": values_read}),), tuple(findings))


def _part(folder: Folder, model: Shards, parts: dict[str, Shards], *, committed: bool | None) -> Part:
    dtypes: dict[str, int] = {}
    for tensor in model.tensors.values():
        dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + 1
    return Part(
        path=folder.label,
        kind="checkpoint",
        tensors=len(model.tensors),
        parameters=model.num_parameters,
        bytes=sum(shards.num_bytes for shards in parts.values()),
        dtypes=dtypes,
        ranks=max((shards.ranks for shards in parts.values()), default=0),
        committed=committed,
    )


def _commit(folder: Folder, request: Request, *, read: bool) -> tuple[list[Finding], bool]:
    """Compare the files with what COMMIT says of them. Returns the findings, and whether COMMIT is one."""
    where = folder.where(COMMIT)
    path, problems = locate(folder, COMMIT)
    if path is None:
        return list(problems), False
    try:
        size = path.stat().st_size
        if size > MAX_COMMIT_BYTES:
            return [found("commit-invalid", where, f"{size:,} bytes", f"at most {MAX_COMMIT_BYTES:,}")], False
        commit = Commit.model_validate_json(path.read_bytes())
    except OSError as error:
        return [found("unreadable", where, error.strerror or str(error), "a file that can be read")], False
    except ValidationError as error:
        saw = f"{error.error_count()} problems, the first: {shorten(error.errors()[0]['msg'])}"
        return [found("commit-invalid", where, saw, "a COMMIT as it was written")], False
    inside: dict[str, int] = {}
    findings: list[Finding] = []
    for name, size in commit.files.items():
        place, problems = locate(folder, name)
        findings.extend(problems)
        if place is not None:
            inside[name] = size
    wrong = damage(folder.path, commit.model_copy(update={"files": inside}))
    if read and request.values is not False and not wrong:
        wrong = _contents(folder, commit, inside, request)
    if wrong:
        saw = f"{len(wrong)} of {len(commit.files)} files: {some([shorten(each) for each in wrong])}"
        findings.append(found("commit-damage", where, saw, "files as they were committed"))
    return findings, True


def _contents(folder: Folder, commit: Commit, sizes: dict[str, int], request: Request) -> list[str]:
    """Return the files whose sha256 is another than COMMIT has."""
    files = [
        Tensor(name, "U8", (size,), folder.path / name, 0, size)
        for name, size in sizes.items()
        if name in commit.hashes
    ]
    seen = read_values(files, progress=request.progress)
    return [
        f"{name}: {values.problem or f'sha256 {values.sha256[:12]}, committed with {commit.hashes[name][:12]}'}"
        for name, values in seen.items()
        if values.sha256 != commit.hashes[name]
    ]


def check_pointer(folder: Folder) -> list[Finding]:
    """Return what is wrong with latest_checkpoint.txt, where there is one."""
    if POINTER not in folder.files:
        return []
    path, problems = locate(folder, POINTER)
    if path is None:
        return list(problems)
    try:
        with path.open("rb") as file:
            name = file.read(4096).decode(errors="replace").strip()
    except OSError as error:
        return [found("unreadable", folder.where(POINTER), error.strerror or str(error), "a file that can be read")]
    if name.rstrip("/") in folder.folders:
        return []
    return [found("pointer-dangling", folder.where(POINTER), shorten(name) or "nothing", "a checkpoint beside it")]
