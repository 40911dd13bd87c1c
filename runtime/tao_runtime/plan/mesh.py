"""The device mesh: infers the axis given as -1, never clamps. A product that does not fit is for preflight to say."""

from __future__ import annotations

import math

from tao_runtime.plan.model import MeshPlan


def resolve_mesh(degrees: dict[str, int], *, world: int | None, num_devices: int) -> tuple[MeshPlan, int | None]:
    """Return the mesh and the data-parallel size (None where the degrees do not fit the world).

    `degrees` holds dp_replicate, dp_shard, cp, tp, pp, and cfg where there is one; at most one dp axis is -1.
    Without a world, the world is the product of the degrees, or one process per device where an axis is to be inferred.
    """
    fixed = math.prod(size for size in degrees.values() if size > 0)
    inferred = [axis for axis in ("dp_replicate", "dp_shard") if degrees[axis] == -1]
    if world is None:
        world = fixed if not inferred else max(fixed, num_devices, 1)
    resolved: dict[str, int | None] = dict(degrees)
    if len(inferred) == 1 and world % fixed == 0:
        resolved[inferred[0]] = world // fixed
    elif inferred:
        resolved.update(dict.fromkeys(inferred))
    replicate, shard = resolved["dp_replicate"], resolved["dp_shard"]
    mesh = MeshPlan(
        world=world,
        dp_replicate=replicate,
        dp_shard=shard,
        cp=degrees["cp"],
        tp=degrees["tp"],
        pp=degrees["pp"],
        cfg=degrees.get("cfg", 1),
    )
    fits = replicate and shard and replicate * shard * mesh.cp * mesh.tp * mesh.pp * mesh.cfg == world
    return mesh, replicate * shard if fits and replicate and shard else None
