"""Snapshots from the hub: fetched once, by the launching process, before any worker starts."""

from __future__ import annotations

from collections.abc import Iterable

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from tao_runtime.data.facts import Facts
from tao_runtime.errors import RunError
from tao_runtime.spec.base import ModelRef
from tao_runtime.spec.hub_asset import SNAPSHOT


def fetch_missing(models: Iterable[ModelRef], facts: Facts) -> bool:
    """Fetch what is not on this machine; returns whether anything was. The token is read by the library alone.

    Raises:
        RunError: the hub refuses, or cannot be reached.
    """
    fetched = False
    for ref in models:
        seen = facts.models.get(ref.label)
        if seen is None or seen.directory is not None:
            continue
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
