"""Snapshots from the hub: fetched once, by the launching process, before any worker starts."""

from __future__ import annotations

from collections.abc import Iterable

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from tao_runtime.data.facts import Facts
from tao_runtime.errors import Finding, FindingsError, Fix, RunError
from tao_runtime.spec.base import ModelRef
from tao_runtime.spec.hub_asset import SNAPSHOT


def fetch_missing(models: Iterable[ModelRef], facts: Facts, *, family: str) -> bool:
    """Fetch what is not on this machine; returns whether anything was. The token is read by the library alone.

    Raises:
        FindingsError: the weights are one file of a trainer's. RunError: the hub refuses, or cannot be reached.
    """
    fetched = False
    for ref in models:
        seen = facts.models.get(ref.label)
        if seen is None or seen.directory is not None:
            continue
        if seen.is_file and ref.label == "model":
            raise FindingsError([_one_file(ref, family)])
        try:
            snapshot_download(ref.location, revision=ref.revision, allow_patterns=list(SNAPSHOT))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise RunError(
                f"{ref.key}: {ref.location} cannot be fetched: {reason}. Fix: accept its licence on the hub, "
                "export HF_TOKEN, check the network, or give a local directory"
            ) from error
        fetched = True
    return fetched


def _one_file(ref: ModelRef, family: str) -> Finding:
    text = (
        "write such a folder from it, beside the configuration and components of the released one: "
        f"`tao-run convert {ref.location} --family {family} --like RELEASED --out DIR`"
    )
    saw, want = f"one file, {ref.location}", "a folder that the model's library loads"
    return Finding(rule="run/base-layout", severity="error", where=ref.key, saw=saw, want=want, fix=Fix(text=text))
