"""A closer look at a machine than a plan needs: driver, shared memory, limits, codecs, a write test, ports."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final

from tao_runtime.data.facts import HostFacts
from tao_runtime.data.host import DRIVER_TIMEOUT_S, existing_parent, probe_host
from tao_runtime.data.packages import Requirement, TorchFacts, ask_torch, installed, requirements, try_import

SHARED: Final = Path("/dev/shm")
CODECS: Final = ("h264", "hevc", "av1", "vp9", "mpeg4")
# Extensions that fail on import beside a torch they were not built for, and then take others down with them.
FRAGILE: Final = ("torchvision", "torchaudio", "torchcodec", "flash-attn", "bitsandbytes", "xformers")
MODULES: Final = {"flash-attn": "flash_attn"}
MEETING_PORT: Final = 29500  # torchrun's default for several machines
WRITE_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device, as nvidia-smi names it."""

    name: str
    memory_bytes: int
    driver: str


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What was seen. None: it could not be asked."""

    host: HostFacts
    python: str
    gpus: tuple[Gpu, ...]
    driver_cuda: str  # newest CUDA that the driver runs, '' if not known
    driver_error: str  # why nvidia-smi failed; '': it did not, or is not there
    requirements: tuple[Requirement, ...] | None
    torch: TorchFacts | str | None  # None: not installed; text: why it cannot be imported
    fragile: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # version, and why it fails
    shared_bytes: int | None = None
    open_files: tuple[int, int] | None = None  # soft and hard limit
    codecs: tuple[str, ...] = ()  # of CODECS, those that can be decoded
    av_version: str = ""
    folder: Path = Path()
    write_error: str = ""
    write_bytes_per_s: float | None = None
    hostname_error: str = ""
    port_error: str = ""


def probe_machine(folder: Path, *, imports: bool = True) -> MachineFacts:
    """Look at this machine; `folder` is where runs will be written. Without `imports` no library is tried."""
    import platform  # noqa: PLC0415 - slow, and needed here only

    gpus, error = _gpus()
    wanted = requirements()
    there = installed(("torch", *FRAGILE))
    fragile = {
        name: (there[name], try_import(MODULES.get(name, name)) if imports else None)
        for name in FRAGILE
        if name in there
    }
    write_error, speed = _write_test(folder)
    return MachineFacts(
        host=probe_host(str(folder)),
        python=platform.python_version(),
        gpus=gpus,
        driver_cuda=_driver_cuda() if gpus else "",
        driver_error=error,
        requirements=wanted,
        torch=ask_torch() if "torch" in there and imports else None,
        fragile=fragile,
        shared_bytes=shutil.disk_usage(SHARED).total if SHARED.is_dir() else None,
        open_files=_open_files(),
        codecs=tuple(name for name in CODECS if _decodes(name)),
        av_version=metadata.version("av"),
        folder=folder,
        write_error=write_error,
        write_bytes_per_s=speed,
        hostname_error=_hostname(),
        port_error=_port(),
    )


def _smi(*arguments: str) -> str:
    """Run nvidia-smi. Raises OSError or SubprocessError."""
    return subprocess.run(
        ["nvidia-smi", *arguments], capture_output=True, text=True, timeout=DRIVER_TIMEOUT_S, check=True
    ).stdout


def _gpus() -> tuple[tuple[Gpu, ...], str]:
    """Return the devices, and why they cannot be asked although there is a driver."""
    if shutil.which("nvidia-smi") is None:
        return (), ""
    try:
        text = _smi("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
    except subprocess.CalledProcessError as error:
        return (), (error.stdout or error.stderr or str(error)).strip().splitlines()[0][:200]
    except (OSError, subprocess.SubprocessError) as error:
        return (), str(error)[:200]
    return read_gpus(text), ""


def read_gpus(text: str) -> tuple[Gpu, ...]:
    """Read what nvidia-smi prints, a line `name, MiB, driver` for each device."""
    rows = [[part.strip() for part in line.split(",")] for line in text.splitlines()]
    return tuple(Gpu(row[0], int(row[1]) << 20, row[2]) for row in rows if len(row) == 3 and row[1].isdigit())


def _driver_cuda() -> str:
    with suppress(OSError, subprocess.SubprocessError):
        match = re.search(r"CUDA Version:\s*([0-9.]+)", _smi())
        return match.group(1) if match else ""
    return ""


def _open_files() -> tuple[int, int] | None:
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def _decodes(name: str) -> bool:
    import av  # noqa: PLC0415 - 60 ms that a check, which has the rules about a machine too, does without

    try:
        av.codec.Codec(name, "r")
    except ValueError:  # what PyAV raises for a codec its FFmpeg does not have
        return False
    return True


def _write_test(folder: Path) -> tuple[str, float | None]:
    """Write, sync, rename and remove a file where runs will lie; returns why it fails, or bytes per second."""
    nearest = existing_parent(folder)
    data, started = os.urandom(WRITE_BYTES), time.monotonic()
    try:
        handle, name = tempfile.mkstemp(dir=nearest, prefix=".tao-run-write-test.")
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            path = path.rename(path.with_suffix(".renamed"))
        finally:
            path.unlink(missing_ok=True)
    except OSError as error:
        return f"{nearest}: {error.strerror}", None
    return "", WRITE_BYTES / max(time.monotonic() - started, 1e-6)


def _hostname() -> str:
    """Return why this machine's name cannot be resolved: processes that start together meet by it."""
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError as error:
        return f"{name}: {error}"
    return ""


def _port() -> str:
    """Return why the port where several machines meet cannot be listened on."""
    with socket.socket() as listener:
        try:
            listener.bind(("", MEETING_PORT))
            listener.listen()
        except OSError as error:
            return f"{MEETING_PORT}: {error.strerror}"
    return ""
