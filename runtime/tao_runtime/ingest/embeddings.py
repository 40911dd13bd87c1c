"""Which captions of clips need an embedding: what is there and still true, what can be converted, the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from tao_runtime.data.captions import caption_of
from tao_runtime.data.embedded import EMBEDDINGS
from tao_runtime.data.fold import At, Collector, RuleInfo, quote
from tao_runtime.data.json_stream import iter_array
from tao_runtime.data.t5 import EmbeddingError, Encoder, caption_hash, read_embedding
from tao_runtime.data.video_folder import METAS, SUFFIX, VIDEOS, read_caption
from tao_runtime.data.video_jsonl import embedding_stem
from tao_runtime.errors import ExitCode, Finding, Frozen, InputError
from tao_runtime.ingest.write import write_atomically

PICKLES: Final = (".pickle", ".pt", ".pth")  # what other trainers wrote
_SOURCE: Final = "the loader pads whatever it reads, and trains on it"

NO_CAPTION = RuleInfo("prepare/caption-missing", "error", "Every clip has a caption, or --prompt gives one.", _SOURCE)
OTHER_CAPTION = RuleInfo("prepare/caption-differs", "error", "--prompt contradicts no caption.", _SOURCE)
UNREADABLE = RuleInfo("prepare/embedding-unreadable", "warning", "A file to convert is an embedding.", _SOURCE)


@dataclass(frozen=True, slots=True)
class Item:
    """A caption, and the file that its embedding is to be in."""

    clip: str
    caption: str
    target: Path
    action: Literal["keep", "convert", "embed"]
    source: Path | None = None  # what is converted


class EmbeddingReport(Frozen):
    """What was embedded."""

    schema_version: Literal["tao-run/embeddings/1"] = Field(default="tao-run/embeddings/1", alias="schema")
    ok: bool
    folder: str
    encoder: str
    encoder_sha256: str | None = Field(description="digest of its weights; null: it was not needed, or not here")
    embedded: int
    converted: int = Field(description="from files of other trainers, which do not say their encoder")
    kept: int = Field(description="were there, of the same caption and encoder")
    cut: int = Field(default=0, description="captions that are longer than the encoder reads, and were cut")
    findings: tuple[Finding, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.DONE if self.ok else ExitCode.FINDINGS


@dataclass(frozen=True, slots=True)
class Wanted:
    """How embeddings are judged: by whose they should be, and whether those that do not say it are made again."""

    encoder: Encoder
    again: bool = False


def list_items(path: Path, wanted: Wanted, *, prompt: str | None = None) -> tuple[list[Item], tuple[Finding, ...]]:
    """Return every caption of a folder or a file of clips, and what is wrong with them.

    `prompt` becomes the caption of every clip of a folder: it is written to `metas/`, where the loader reads it.

    Raises:
        InputError: there are no clips.
    """
    findings = Collector(where=str(path), file=str(path))
    rows = _folder(path, prompt, findings) if path.is_dir() else _file(path, prompt, findings)
    items = [_item(index, *row, wanted, findings) for index, row in enumerate(rows)]
    if not items and not findings.counts:
        raise InputError(f"{path}: no clips; want {VIDEOS}/*{SUFFIX}, or a file with one clip a line")
    return items, findings.findings()


def _folder(root: Path, prompt: str | None, findings: Collector) -> Iterator[tuple[str, str, Path]]:
    if not (root / VIDEOS).is_dir():
        raise InputError(
            f"{root}: has no folder {VIDEOS}; want {VIDEOS}/*{SUFFIX} and {METAS}/*.txt, or a JSONL of clips"
        )
    for index, clip in enumerate(sorted((root / VIDEOS).glob(f"*{SUFFIX}"))):
        meta, caption = root / METAS / f"{clip.stem}.txt", read_caption(root, clip.stem)
        if prompt is not None and not caption:
            meta.parent.mkdir(exist_ok=True)
            write_atomically(meta, f"{prompt.strip()}\n".encode())
            caption = prompt.strip()
        elif prompt is not None and caption != prompt.strip():
            fix = "leave --prompt out to embed the captions that are there, or delete them"
            findings.add(
                OTHER_CAPTION, quote(caption), "no caption, or that of --prompt", at=At(index, file=str(meta)), fix=fix
            )
            continue
        if not caption:
            fix = "write the text of the clip, or give one text for all with --prompt"
            findings.add(
                NO_CAPTION, f"no {METAS}/{meta.name}", "the text of the clip", at=At(index, file=str(meta)), fix=fix
            )
            continue
        yield clip.stem, caption, root / EMBEDDINGS / clip.stem


def _file(path: Path, prompt: str | None, findings: Collector) -> Iterator[tuple[str, str, Path]]:
    if prompt is not None:
        raise InputError(f"--prompt: {path} brings its captions; want a folder of clips, or no --prompt")
    for index, _, _, record in iter_array(path):
        table: Mapping[str, object] = record if isinstance(record, dict) else {}
        name, windows = table.get("vision_path"), table.get("t2w_windows")
        if not isinstance(name, str) or not isinstance(windows, list):
            findings.add(NO_CAPTION, quote(record), "vision_path and t2w_windows", at=At(index))
            continue
        for number, window in enumerate(windows):
            caption = caption_of(window) if isinstance(window, dict) else None
            if caption is None:
                findings.add(NO_CAPTION, "no caption", "the text of the window", at=At(index, f"/t2w_windows/{number}"))
            else:
                yield f"{name} window {number}", caption.text, embedding_stem(path, name, number)


def _item(index: int, clip: str, caption: str, stem: Path, wanted: Wanted, findings: Collector) -> Item:
    target = stem.with_name(stem.name + ".safetensors")
    if _is_true(target, caption, wanted):
        return Item(clip, caption, target, "keep")
    # One that does not say its text may be of an older text: the caption's own file tells, where there is one.
    meta = stem.parent.parent / METAS / f"{stem.name}.txt"
    for suffix in () if wanted.again or target.is_file() else PICKLES:
        source = stem.with_name(stem.name + suffix)
        if not source.is_file() or (meta.is_file() and source.stat().st_mtime_ns < meta.stat().st_mtime_ns):
            continue
        if suffix == ".pickle" and (why := _not_readable(source)):
            findings.add(UNREADABLE, why, "arrays only", at=At(index, file=str(source)), fix="it is embedded anew")
            continue
        return Item(clip, caption, target, "convert", source)
    return Item(clip, caption, target, "embed")


def _not_readable(path: Path) -> str | None:
    try:
        read_embedding(path)
    except EmbeddingError as error:
        return str(error).partition("; want ")[0]
    return None


def _is_true(path: Path, caption: str, wanted: Wanted) -> bool:
    """Whether an embedding is of this caption and of the encoder; one that was converted cannot say of which."""
    if not path.is_file():
        return False
    try:
        found = read_embedding(path)
    except EmbeddingError:
        return False
    if found.caption_sha256 != caption_hash(caption):
        return False
    if found.encoder is None:
        return found.source is not None and not wanted.again
    return found.encoder.is_same(wanted.encoder)
