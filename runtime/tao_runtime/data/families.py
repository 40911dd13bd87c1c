"""What the family-free floors ask of the dry half of a family: how a record becomes tokens."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from tao_runtime.data.clip_flops import ClipFlops
from tao_runtime.data.facts import MediaKind, VisionGeometry
from tao_runtime.data.flops import ForwardFlops
from tao_runtime.data.vision import MediaLayout


class Encoding(Protocol):
    """A tokenised text."""

    @property
    def ids(self) -> list[int]: ...


class Tokenizer(Protocol):
    """The part of `tokenizers.Tokenizer` that is used; loading one needs no torch."""

    def encode(self, sequence: str, *, add_special_tokens: bool) -> Encoding: ...

    def token_to_id(self, token: str) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str  # system, user, assistant
    text: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the prompt that is tokenised on its own, supervised or not."""

    text: str
    supervised: bool = False


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenised sample."""

    ids: list[int]
    supervised: list[bool]  # per token: does it count in the loss

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def weight(self) -> int:
        """Supervised tokens that are predicted: the first token of a sample never is."""
        return sum(self.supervised[1:])


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """How a conversation is written down for the model; recorded in the plan, shared by every action."""

    prompt_format: str
    system_prompt: str = ""
    conversation_key: str = "conversations"
    response_mode: str = "hybrid"


class DryFamily(Protocol):
    """A module `tao_runtime.data.<family>`."""

    MEDIA_TOKENS: tuple[str, ...]  # special tokens that stand for a piece of a medium
    END_TOKENS: tuple[str, ...]  # special tokens that end an answer; the first one ends a turn

    def read_turns(self, record: Mapping[str, object], conversation_key: str) -> list[Turn]: ...

    def media_names(self, record: Mapping[str, object]) -> list[tuple[MediaKind, str]]: ...

    def forward_flops(self, config: Mapping[str, object], geometry: VisionGeometry) -> ForwardFlops | None: ...

    def question_of(self, turns: Iterable[Turn]) -> str: ...

    def answer_of(self, turns: Iterable[Turn]) -> str: ...

    def render(
        self,
        turns: Sequence[Turn],
        layouts: Sequence[MediaLayout],
        options: PromptOptions,
        *,
        generate: bool = False,
    ) -> list[Segment]: ...


def dry_family(name: str) -> DryFamily:
    """Return the dry half of a family."""
    return cast(DryFamily, importlib.import_module(f"tao_runtime.data.{name}"))


class NetworkNames(Protocol):
    """The part of a dry half that knows its network: its names in both codebases, and its arithmetic."""

    HEADS: Mapping[str, int]  # heads of attention, by size
    NETWORKS: Mapping[str, Mapping[str, object]]  # configurations as published, by size
    SHAPE: tuple[str, ...]  # keys of a configuration that tell one size from another

    def original_names(self, size: str) -> list[str]: ...

    def to_original(self, name: str) -> str: ...

    def to_library(self, name: str) -> str: ...

    def library_targets(self, modules: str) -> tuple[str, ...]: ...

    def clip_flops(self, config: Mapping[str, object]) -> ClipFlops | None: ...


def network_names(name: str) -> NetworkNames:
    """Return the names of a family's network."""
    return cast(NetworkNames, importlib.import_module(f"tao_runtime.data.{name}"))


def tokenize(segments: Iterable[Segment], tokenizer: Tokenizer) -> Tokens:
    """Tokenise segment by segment, so that an answer's tokens are those the model itself would generate."""
    ids: list[int] = []
    supervised: list[bool] = []
    for segment in segments:
        piece = tokenizer.encode(segment.text, add_special_tokens=False).ids
        ids += piece
        supervised += [segment.supervised] * len(piece)
    return Tokens(ids, supervised)
