"""The machine that will run: devices, memory, disk. Asked without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tao_runtime.data.facts import HostFacts
from tao_runtime.data.paths import is_dir

DRIVER_TIMEOUT_S: Final = 20  # a hung driver must not hang preflight
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def probe_host(output_dir: str, *, world_size: int | None = None) -> HostFacts:
    """Look at this machine. Disk is that of the file system on which the output directory lies or will lie."""
    gpus = _gpus()
    target = Path(output_dir or ".")
    return HostFacts(
        num_gpus=len(gpus),
        gpu_memory_bytes=min(size for _, size in gpus) if gpus else None,
        gpu_name=gpus[0][0] if gpus else None,
        num_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        free_disk_bytes=shutil.disk_usage(existing_parent(target)).free,
        output_dir_exists=is_dir(target),
        world_size=world_size,
    )


def existing_parent(path: Path) -> Path:
    """Return the path itself, or the nearest thing above it that exists."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps '..', whose parent is the wrong one
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _gpus() -> list[tuple[str, int]]:
    """Name and memory of each device that this process may use, by nvidia-smi; none where there is no driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    tool = shutil.which("nvidia-smi")
    if tool is None or visible == "":
        return []
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, timeout=DRIVER_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.rpartition(",") for line in lines.splitlines()]
    sizes = [(name.strip(), int(size) << 20) for name, _, size in rows if size.strip().isdigit()]  # MiB
    return sizes if visible is None else sizes[: len(visible.split(","))]


def _memory_bytes() -> int:
    """Memory of the machine, or less where a container is limited to less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _CGROUP_LIMIT.read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total
