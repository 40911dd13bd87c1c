"""What every spec is: a frozen pydantic model that can say which data, model and directory it names."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from tao_runtime.spec.hub_asset import HubAsset


class Section(BaseModel):
    """A table of a spec. Unknown keys are refused; values never change after loading, and are never coerced."""

    # defer_build: of all the specs of all families, a command validates one
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False, defer_build=True
    )


@dataclass(frozen=True, slots=True)
class DatasetRef:
    """A dataset as a spec names it. In root mode `annotation` is a directory: `<root>/annotations.json` + `<root>`."""

    label: str  # train, val, eval, calibration
    annotation: str
    media: str  # "" means the directory that holds the annotation file
    annotation_key: str  # the spec key that a finding should name
    media_key: str
    conversation_key: str = "conversations"  # the key of a record that holds its turns
    format: str = "llava"  # how the data set is laid out: a name of data/probe.py


@dataclass(frozen=True, slots=True)
class AskedRef:
    """Clips that a spec asks for: a file of prompts, and what video goes on from. Empty: none."""

    prompts: str
    prompts_key: str
    given: str
    given_key: str
    needs_given: bool  # the model makes no video from text alone


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model as a spec names it: a local directory, `org/name` on the hub, or `hf_model://org/name`."""

    label: str  # model, base_model
    path: str
    key: str
    revision: str | None = None

    @property
    def location(self) -> str:
        """The path or hub id without the `hf_model://` scheme."""
        return self.path.removeprefix("hf_model://")


class Spec(Section):
    """A whole spec of one action of one family."""

    family: ClassVar[str]
    action: ClassVar[str]
    # Other names a user may write, as dotted prefixes: {"learning_rate": "train.optm_lr", "evaluate": ""}.
    aliases: ClassVar[Mapping[str, str]] = {}
    # Keys that decide whether a run is the run that was meant: what to give them, and why.
    critical: ClassVar[Mapping[str, tuple[str, str]]] = {}

    # What the family's specs need of the hub: where a path comes from, and what libraries fetch without any key for it.
    hub: ClassVar[tuple[HubAsset, ...]] = ()

    # True: this action is meant where the keys fit several.
    assumed: ClassVar[bool] = False
    # True: `???` means "as if the key were not given", and is wrong only where nothing else gives a value.
    missing_falls_through: ClassVar[bool] = False
    # Keys whose tables are the user's own: taken as they stand, variables and all.
    opaque: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def claims(cls, given: Mapping[str, object]) -> int:
        """Return how surely these values (by key) are of this family; families of one dialect are told apart by it."""
        return 1

    @classmethod
    def complete(cls, given: Mapping[str, object]) -> Mapping[str, object]:
        """Return, by key, what follows from the given values for keys that are not given."""
        return {}

    @classmethod
    def variables(cls, given: Mapping[str, object]) -> Mapping[str, str]:
        """Return the values of environment variables that upstream's launchers set where nobody exported them."""
        return {}

    @property
    def sha256(self) -> str:
        """Identity of the resolved spec: hash of its canonical JSON. Every artefact carries it."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @abstractmethod
    def datasets(self) -> tuple[DatasetRef, ...]:
        """The datasets this spec reads, empty paths left out."""

    @abstractmethod
    def models(self) -> tuple[ModelRef, ...]:
        """The models this spec loads, the one that is acted on first."""

    def judged(self) -> tuple[ModelRef, ...]:
        """Return the models whose training decides what a score means; they may be runs of ours, or parts of one."""
        return self.models()

    @abstractmethod
    def output_dir(self) -> str:
        """Where the run is written."""

    def asked(self) -> AskedRef | None:
        """Return the clips that are asked for; None: this action makes none."""
        return None

    def acting_on(self, model: str, *, base: str, output_dir: str) -> tuple[str, ...]:
        """Return overrides for the same run of another model into another place; none: this action has no such thing.

        `base`: what `model` is an adapter of; empty: it is whole.
        """
        return ()

    def any_question(self) -> tuple[str, ...]:
        """Return overrides under which questions of every kind are judged, and answers are short."""
        return ()
