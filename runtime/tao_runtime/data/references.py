"""The media that records name: resolved against the media root, never outside it, each directory listed once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from tao_runtime.data.facts import MediaKind
from tao_runtime.data.fold import At, Collector, RuleInfo, declare, quote
from tao_runtime.data.llava import MEDIA_KEYS, VIDEO_KEYS, ConversationFold, keep_tags, put_tags
from tao_runtime.data.paths import can_be_path, homes, lies_in

_ROOT = "a record must not read outside the media root that the spec names"

SUFFIXES: Final = {
    "video": (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"),
    "image": (".jpg", ".jpeg", ".png", ".webp", ".bmp"),
}
WRONG_KEY = declare(
    "dataset/media-key",
    "error",
    "A video is under `video` and a picture under `image`: the key decides how a file is opened.",
    source="LLaVA conversation format",
)
MIXED = declare(
    "dataset/media-mixed", "error", "A record has one kind of media under one key.", source="LLaVA conversation format"
)
NOT_PATH = declare(
    "dataset/media-not-path", "error", "A medium is a path, or a list of paths.", source="LLaVA conversation format"
)
OUTSIDE = declare(
    "dataset/media-outside", "error", "A medium lies inside the media root, links followed.", source=_ROOT
)
MISSING = declare(
    "dataset/media-missing", "error", "Every medium exists.", source="seed guide: paths and media exist before launch"
)
MORE_TAGS = declare(
    "dataset/tags-exceed-media",
    "error",
    "A record has no more media tags than media.",
    source="LLaVA conversation format",
)
FEWER_TAGS = declare(
    "dataset/tags-missing",
    "warning",
    "Each medium has its tag; one without is put in front of the first question.",
    source="the upstream loader puts media first",
)


@dataclass(frozen=True, slots=True)
class _Refused:
    rule: RuleInfo
    saw: str
    want: str


def judge_tags(
    index: int,
    record: Mapping[str, object],
    turns: ConversationFold,
    media: tuple[MediaKind, int],
    findings: Collector,
) -> None:
    """Compare the media tags of a record, whose turns passed, with the kind and number of its media."""
    (kind, num_media), tags, key = media, turns.num_tags, turns.key
    if tags == num_media or not turns.num_turns:
        return
    said: list[dict[str, object]] = record[key]  # type: ignore[assignment]  # they passed
    saw, want = f"{tags} media tags for {num_media} media", "one <video> or <image> tag for each medium"
    at = At(index, f"/{key}")
    if tags < num_media:
        patch, fix = put_tags(said, key, f"<{kind}>" * (num_media - tags)), "put the tag in front of the question"
        findings.add(FEWER_TAGS, saw, want, at=at, fix=fix, patch=patch)
    elif num_media:
        patch = keep_tags(said, key, num_media)
        fix = "write &lt;video&gt; or &lt;image&gt; where a question speaks of the tag"
        findings.add(MORE_TAGS, saw, want, at=at, fix=fix, patch=patch)
    else:
        findings.add(MORE_TAGS, saw, want, at=at, fix="name the medium, or take the tag out")


class MediaFold:
    """Resolves the media of every record; `current` holds the indices into `files` of the record last seen."""

    def __init__(self, root: Path, turns: ConversationFold) -> None:
        self.root = str(root)
        self.homes = homes(root)
        self.turns = turns  # has seen the record before this fold does
        self.files: list[tuple[str, MediaKind]] = []
        self.current: list[int] = []
        self.known: dict[MediaKind, dict[str, int | _Refused]] = {"video": {}, "image": {}}  # kind -> name as written
        self._by_path: dict[tuple[str, MediaKind], int] = {}
        self._listed: dict[str, dict[str, bool] | None] = {}  # directory -> name -> is a link; None: outside the root

    def see(self, index: int, record: Mapping[str, object], findings: Collector) -> None:
        self.current = []
        keys = [key for key in MEDIA_KEYS if record.get(key)]
        if len(keys) > 1:
            findings.add(MIXED, " and ".join(keys), "one of " + ", ".join(MEDIA_KEYS), at=At(index, f"/{keys[1]}"))
            return
        if keys:
            value = record[keys[0]]
            kind: MediaKind = "video" if keys[0] in VIDEO_KEYS else "image"
            names = value if type(value) is list else [value]
            if wrong := self._other_kind(names, kind):
                self._key(index, record, keys[0], wrong, findings)
                return
            for name in names:
                known = self.known[kind].get(name) if type(name) is str else None
                if type(known) is int:
                    self.current.append(known)
                else:
                    self._one(name, kind, findings, At(index, f"/{keys[0]}"))
            num_media = len(names)
        else:
            num_media = 0
        if self.turns.num_tags != num_media and self.turns.num_turns:
            tagged: MediaKind = "image" if keys and keys[0] not in VIDEO_KEYS else "video"
            judge_tags(index, record, self.turns, (tagged, num_media), findings)

    def _other_kind(self, names: list[object], kind: MediaKind) -> str:
        """Return a file of the other kind, by its suffix; one that was found before is of its own."""
        known, other = self.known[kind], SUFFIXES["image" if kind == "video" else "video"]
        strange = [name for name in names if type(name) is str and name not in known and name.lower().endswith(other)]
        return strange[0] if strange else ""

    def _key(self, index: int, record: Mapping[str, object], key: str, name: str, findings: Collector) -> None:
        """Say that a key of one kind names a medium of the other."""
        own, other = ("video", "image") if key in VIDEO_KEYS else ("image", "video")
        to = other + ("s" if key.endswith("s") else "")
        patch: dict[str, JsonValue] = {key: None, to: record[key]}  # type: ignore[dict-item]
        turns = record.get(self.turns.key)
        if type(turns) is list and self.turns.num_turns:
            for number, turn in enumerate(turns):
                if f"<{own}>" in turn["value"]:
                    patch[f"{self.turns.key}/{number}/value"] = turn["value"].replace(f"<{own}>", f"<{other}>")
        at = At(index, f"/{key}")
        findings.add(
            WRONG_KEY, f"{key}: {quote(name)}", f"it under {to}", at=at, fix=f"rename the key to {to}", patch=patch
        )

    def _one(self, name: object, kind: MediaKind, findings: Collector, at: At) -> None:
        if type(name) is not str or not name:
            findings.add(NOT_PATH, quote(name), "a path relative to the media root", at=at)
            return
        known = self.known[kind].get(name)
        if known is None:
            known = self.known[kind][name] = self._resolve(name, kind)
        if isinstance(known, int):
            self.current.append(known)
        else:
            findings.add(known.rule, known.saw, known.want, at=at)

    def _resolve(self, name: str, kind: MediaKind) -> int | _Refused:
        missing = _Refused(MISSING, f"{quote(name)} is not a file in {self.root}", "a file")
        outside = _Refused(OUTSIDE, f"{quote(name)} leads out of {self.root}", "a path inside the media root")
        if not can_be_path(name):
            return missing
        full = os.path.join(self.root, name)  # noqa: PTH118 - once per distinct name: Path costs 5x
        if ".." in name.split("/"):
            full = os.path.realpath(full)
            if not lies_in(full, self.homes):
                return outside
        folder, _, leaf = os.path.normpath(full).rpartition("/")
        names = self._names(folder)
        if names is None:
            return outside
        if leaf not in names:
            return missing
        path = f"{folder}/{leaf}"
        if names[leaf]:
            real = Path(path).resolve()
            if not real.is_file():
                return missing
            if not lies_in(str(real), self.homes):
                return outside
        return self._index(path, kind)

    def _index(self, path: str, kind: MediaKind) -> int:
        """Number the file; two spellings of one path are one file."""
        found = self._by_path.setdefault((path, kind), len(self.files))
        if found == len(self.files):
            self.files.append((path, kind))
        return found

    def _names(self, folder: str) -> dict[str, bool] | None:
        """List the files of a directory once: one system call for many files, where a stat each would be many."""
        if folder in self._listed:
            return self._listed[folder]
        names: dict[str, bool] | None = {}
        if not lies_in(os.path.realpath(folder), self.homes):
            names = None
        else:
            try:
                with os.scandir(folder) as entries:
                    names = {one.name: one.is_symlink() for one in entries if one.is_symlink() or one.is_file()}
            except OSError:
                names = {}  # not a directory, or not readable: every file in it is reported missing
        self._listed[folder] = names
        return names

    def finish(self, findings: Collector) -> None:
        """Nothing is left over."""
