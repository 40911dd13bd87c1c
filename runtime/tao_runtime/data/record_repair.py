"""One record, repaired: the rules look, their patches are applied, until nothing is left that a patch can cure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from tao_runtime.data.consistency import AbsoluteFold, AgreementFold
from tao_runtime.data.facts import MediaHeader, MediaKind
from tao_runtime.data.fold import At, Collector, RuleInfo
from tao_runtime.data.llava import NOT_OBJECT, VIDEO_FPS, ConversationFold, IdFold, VideoFpsFold, new_id
from tao_runtime.data.media import cache_path, probe_header, probe_media
from tao_runtime.data.patch import Patch, apply_patch, disjoint
from tao_runtime.data.rates import FPS_TOLERANCE, judge_rates, rate_patch
from tao_runtime.data.references import MediaFold
from tao_runtime.data.usual import Usual
from tao_runtime.errors import Finding, Severity

MAX_ROUNDS: Final = 16  # a patch may bring another rule into sight, not for ever


@dataclass(frozen=True, slots=True)
class Repaired:
    """What came of a record."""

    record: dict[str, Any] | None  # None: it is not an object
    applied: tuple[str, ...] = ()  # rules whose patches were applied
    reasons: tuple[str, ...] = ()  # why it cannot be used all the same


@dataclass(slots=True)
class RecordRepair:
    """Repairs the records of one annotation file, in order. `repeated` are those whose id an earlier one has."""

    root: Path
    key: str
    repeated: frozenset[int]
    headers: dict[str, MediaHeader | Finding] = field(init=False, default_factory=dict)  # by path
    turns: ConversationFold = field(init=False)
    media: MediaFold = field(init=False)
    rate: VideoFpsFold = field(init=False, default_factory=VideoFpsFold)
    usual: Usual = field(init=False)
    seen: list[tuple[str, Severity, str, Patch | None]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.turns = ConversationFold(self.key)
        self.media = MediaFold(self.root, self.turns)
        agreement = AgreementFold(self.key, self.media)
        self.usual = Usual(self.turns, self.media, self.rate, IdFold(), agreement, AbsoluteFold())

    def probe(self, files: Sequence[tuple[str, MediaKind]]) -> None:
        """Look at the headers of all files that are named; a check has done so before, and they are remembered."""
        found = probe_media(files, cache=cache_path())
        self.headers.update((path, header) for (path, _), header in zip(files, found, strict=True))

    def repair(self, index: int, record: object) -> Repaired:
        """Return the record with every patch that helps, and what is wrong with it still."""
        if type(record) is not dict:
            return Repaired(None, (), (f"{NOT_OBJECT.name}: not an object",))
        changed: dict[str, Any] = apply_patch(record, new_id(index)) if index in self.repeated else record
        applied = ["dataset/id-duplicate"] if index in self.repeated else []
        for _ in range(MAX_ROUNDS):
            if self._is_usual(index, changed):
                return Repaired(changed, tuple(applied))
            self._look(index, changed)
            patch = disjoint([each for *_, each in self.seen if each])
            if not patch:
                break
            applied += [rule for rule, _, _, each in self.seen if each and set(each) <= set(patch)]
            changed = apply_patch(changed, patch)
        reasons = tuple(f"{rule}: {saw}" for rule, severity, saw, _ in self.seen if severity == "error")
        return Repaired(changed, tuple(dict.fromkeys(applied)), reasons)

    def _is_usual(self, index: int, record: dict[str, Any]) -> bool:
        quiet = Collector(where="", file="")
        if not self.usual.take(index, record, quiet):
            return False
        headers = [self._header(*self.media.files[number]) for number in self.media.current]
        if any(isinstance(one, Finding) for one in headers):
            return False
        return math.isnan(self.rate.fps) or not any(
            abs(self.rate.fps - one.fps) > FPS_TOLERANCE * one.fps for one in headers if isinstance(one, MediaHeader)
        )

    def _look(self, index: int, record: Mapping[str, object]) -> None:
        """Let every rule of one record look; what they see is in `seen`."""
        self.seen.clear()
        findings = Collector(where="", file="", listen=self._hear)
        for fold in (self.turns, self.media, self.rate):
            fold.see(index, record, findings)
        headers = [self._header(*self.media.files[number]) for number in self.media.current]
        self.seen += [(one.rule, one.severity, one.saw, None) for one in headers if isinstance(one, Finding)]
        rates = [one.fps for one in headers if isinstance(one, MediaHeader)]
        said = dict(self.rate.said.pop(index, {}))
        if not math.isnan(self.rate.fps):
            said["video_fps"] = [self.rate.fps]
        if not rates or len(rates) < len(headers):
            return
        patch = rate_patch(rates)
        self.seen = [(*each[:3], patch) if each[0] == VIDEO_FPS.name else each for each in self.seen]
        judge_rates(index, said, rates, findings)

    def _hear(self, rule: RuleInfo, saw: str, at: At, patch: dict[str, JsonValue] | None) -> None:
        self.seen.append((rule.name, rule.severity, saw, patch))

    def _header(self, path: str, kind: MediaKind) -> MediaHeader | Finding:
        """Return what probing found; a file that only a repaired record names is opened now."""
        found = self.headers.get(path)
        if found is None or (isinstance(found, MediaHeader) and found.kind != kind):
            found = self.headers[path] = probe_header(Path(path), kind)
        return found
