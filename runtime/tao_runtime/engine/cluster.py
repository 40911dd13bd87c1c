"""Which nodes take part in a run, and which of them this one is. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from tao_runtime.errors import InputError


@dataclass(frozen=True, slots=True)
class Cluster:
    """The machines of a run. All see the same file system; node 0 writes what the workers of all of them read."""

    nodes: int = 1
    rank: int = 0
    endpoint: str = ""  # host:port of node 0, where the nodes find each other

    def __post_init__(self) -> None:
        if self.rank >= self.nodes:
            raise InputError(f"--node-rank: {self.rank}; want 0 to {self.nodes - 1} with --nnodes {self.nodes}")
        if self.nodes > 1 and ":" not in self.endpoint:
            raise InputError(f"--rdzv-endpoint: {self.endpoint!r}; want host:port of node 0 with --nnodes {self.nodes}")

    def processes_here(self, world: int) -> int:
        """Return how many of `world` processes run on each node. Raises InputError if they cannot be spread evenly."""
        if world % self.nodes:
            raise InputError(f"{world} processes on {self.nodes} nodes; want as many on each. Fix: give --nproc")
        return world // self.nodes

    def torchrun(self, world: int) -> list[str]:
        """Return torchrun's arguments for this node."""
        here = f"--nproc-per-node={self.processes_here(world)}"
        if self.nodes == 1:
            # On one machine the loopback is enough; a container without a network cannot resolve its own name.
            return ["--standalone", "--local-addr=127.0.0.1", here]
        meet = ["--rdzv-backend=static", f"--rdzv-endpoint={self.endpoint}"]
        return [f"--nnodes={self.nodes}", f"--node-rank={self.rank}", *meet, here]
