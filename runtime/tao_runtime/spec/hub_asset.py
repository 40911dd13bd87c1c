"""What a spec needs that lies on the hub: repository, files, and the commit at which a family has pinned it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["model", "dataset"]

# What a snapshot of a model for transformers needs; weights in pickles only where there are no others.
SNAPSHOT: Final = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model")
PIPELINE: Final = (
    "model_index.json",
    "scheduler/*",
    "text_encoder/*",
    "tokenizer/*",
    "transformer/*",
    "vae/*",
)  # a folder of diffusers; the same repositories hold upstream's own files beside it


@dataclass(frozen=True, slots=True)
class HubAsset:
    """A repository, and what of it is needed."""

    role: str  # model, tokenizer, text_encoder, safety checker, data: what people call it
    repo: str  # org/name
    kind: Kind = "model"
    revision: str | None = None  # a commit; None: not pinned, the lock file of a fetch says which it was
    files: tuple[str, ...] = SNAPSHOT  # patterns, as fnmatch reads them; empty: all
    place: str = ""  # the part of a local path that says it came from this repository
    folder: str = ""  # where in the repository a spec points to
    actions: tuple[str, ...] = ()  # that need it without any key naming it
    fetched: bool = True  # False: a fetch leaves it to the command in `note`
    note: str = ""  # what to do with it once it is here

    @property
    def page(self) -> str:
        """The page where its licence is shown and accepted, relative to the hub's address."""
        return f"{'datasets/' if self.kind == 'dataset' else ''}{self.repo}"


def pin_of(assets: Iterable[HubAsset], path: str) -> str | None:
    """Return the commit at which a repository that a spec names is pinned."""
    return next((asset.revision for asset in assets if asset.repo == path.removeprefix("hf_model://")), None)
