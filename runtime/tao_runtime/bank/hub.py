"""What a family needs of the hub, as data beside its recipes: repositories, files, and pinned commits."""

from __future__ import annotations

from tao_runtime.spec.families import Family


def hub_assets(family: Family) -> dict[str, object] | None:
    """Return the table of a family's repositories; None for a family that names none of its own."""
    assets = {asset.repo: asset for spec in family.actions.values() for asset in spec.hub}
    if not assets:
        return None
    return {
        "schema": "tao-run/hub-assets/1",
        "family": family.name,
        "assets": [
            {
                "repo": asset.repo,
                "kind": asset.kind,
                "role": asset.role,
                "revision": asset.revision,
                "files": list(asset.files),
                "place": asset.place or None,
                "fetched_without_a_key_by": list(asset.actions),
                "note": asset.note or None,
            }
            for asset in assets.values()
        ],
    }
