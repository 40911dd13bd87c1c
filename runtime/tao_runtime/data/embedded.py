"""Precomputed caption embeddings of a data set: each is one, of its clip's caption, and all are of one encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tao_runtime.data.fold import At, Collector, declare
from tao_runtime.data.paths import is_file
from tao_runtime.data.t5 import EmbeddingError, Encoder, caption_hash, read_embedding

EMBEDDINGS: Final = "t5_xxl"  # folder beside the clips
_READ = "upstream pads whatever it reads, and trains on it"
_EDITED = "a caption that is edited later trains nothing unless it is embedded again"

WRONG_EMBEDDING = declare(
    "clips/embedding", "error", "A caption embedding is [1 to 512, 1024] float16, and finite.", source=_READ
)
UNSAFE = declare(
    "clips/embedding-unsafe",
    "error",
    "A pickled embedding holds arrays, and nothing that runs when it is loaded.",
    source="pickle is a program; upstream loads it",
)
STALE = declare("clips/embedding-stale", "error", "An embedding is that of its clip's caption.", source=_EDITED)
OLDER = declare(
    "clips/embedding-older",
    "warning",
    "An embedding that does not say its caption is not older than the caption's file.",
    source=_EDITED,
)
MIXED = declare(
    "clips/embedding-mixed",
    "error",
    "The embeddings of a data set are all of one encoder.",
    source="states of two encoders lie in two spaces: the network would read two languages as one",
)
_AGAIN = "tao-run prepare t5 makes it again"


class EmbeddingFold:
    """Judges the embedding of each clip, and remembers whose they are."""

    def __init__(self, findings: Collector) -> None:
        self.findings = findings
        self.encoders: dict[Encoder, int] = {}  # to the record that was the first of it

    def see(self, index: int, path: Path | None, caption: str, caption_file: Path) -> bool:
        """Whether a clip has an embedding that can be used."""
        if path is None:
            return False
        at = At(index, file=str(path))
        try:
            found = read_embedding(path)
        except EmbeddingError as error:
            saw, _, want = str(error).partition("; want ")
            self.findings.add(
                UNSAFE if error.unsafe else WRONG_EMBEDDING, saw, want or "arrays only", at=at, fix=_AGAIN
            )
            return False
        if found.encoder is not None and not any(found.encoder.is_same(known) for known in self.encoders):
            self.encoders[found.encoder] = index
            if len(self.encoders) > 1:
                saw = f"embedded by {found.encoder.name}, and others by {next(iter(self.encoders)).name}"
                self.findings.add(MIXED, saw, "one encoder for all", at=at, fix=_AGAIN)
        if found.caption_sha256 is not None:
            if found.caption_sha256 != caption_hash(caption):
                self.findings.add(STALE, "the embedding of another text", "that of the caption", at=at, fix=_AGAIN)
            return True
        if is_file(caption_file) and path.stat().st_mtime_ns < caption_file.stat().st_mtime_ns:
            saw = "older than its caption, and does not say its text"
            self.findings.add(OLDER, saw, "one made since", at=at, fix=_AGAIN)
        return True

    def finish(self) -> tuple[Encoder, ...]:
        """Return the encoders that were seen."""
        return tuple(self.encoders)
