"""`doctor`: is this machine fit to train on? Pure: from what was seen to one line for each thing, with a fix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from packaging.requirements import Requirement as Pin
from packaging.version import InvalidVersion, Version
from pydantic import Field

from tao_runtime.data.machine import CODECS, MachineFacts
from tao_runtime.data.packages import TorchFacts
from tao_runtime.errors import ExitCode, Frozen
from tao_runtime.plan.devices import peak_flops

State = Literal["ok", "warning", "error"]
GIB: Final = 2**30
SHARED_GIB: Final = 1  # NCCL's buffers of a machine's processes; a container starts with 64 MiB
OPEN_FILES: Final = 1024
CPUS_PER_GPU: Final = 4
MEMORY_PER_GPU_GIB: Final = 16
FREE_GIB: Final = 50
TORCHVISION_OFFSET: Final = 15  # released in pairs: torch 2.N with torchvision 0.(N + 15) (pytorch/vision README)


class Line(Frozen):
    """One thing that was looked at."""

    name: str
    state: State
    saw: str
    fix: str | None = None


class Diagnosis(Frozen):
    """All that was looked at, in a fixed order."""

    schema_version: Literal["tao-run/doctor/1"] = Field(default="tao-run/doctor/1", alias="schema")
    ok: bool = Field(description="no line is an error")
    lines: tuple[Line, ...]

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.DONE if self.ok else ExitCode.FINDINGS


def diagnose(machine: MachineFacts) -> Diagnosis:
    """Judge a machine."""
    parts = (_python, _packages, _torch, _fragile, _gpus, _cpus, _shared, _files, _codecs, _disk, _network)
    lines = tuple(line for part in parts for line in part(machine))
    return Diagnosis(ok=all(line.state != "error" for line in lines), lines=lines)


def _python(machine: MachineFacts) -> Iterator[Line]:
    fits = Version(machine.python) >= Version("3.11")
    fix = None if fits else "use Python 3.11 or newer"
    yield Line(name="python", state="ok" if fits else "error", saw=machine.python, fix=fix)


def _packages(machine: MachineFacts) -> Iterator[Line]:
    if machine.requirements is None:
        fix = "pip install -e ."
        yield Line(name="packages", state="warning", saw="runs from a folder: no pins to compare with", fix=fix)
        return
    good = 0
    for each in machine.requirements:
        if each.extra not in {"", "train"}:
            continue
        if each.version is None:
            state: State = "error" if not each.extra else "warning"
            saw = f"not installed; want {each.text}"
            yield Line(name=each.name, state=state, saw=saw, fix=f"pip install '{each.text}'")
        elif not _meets(each.version, each.text):
            saw = f"{each.version}; want {each.text}"
            yield Line(name=each.name, state="error", saw=saw, fix=f"pip install '{each.text}'")
        else:
            good += 1
    yield Line(name="packages", state="ok", saw=f"{good} as pinned")


def _meets(version: str, pin: str) -> bool:
    try:
        return Pin(pin).specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def _torch(machine: MachineFacts) -> Iterator[Line]:
    found = machine.torch
    if isinstance(found, str):
        yield Line(name="torch", state="error", saw=f"cannot be imported: {found}", fix="install it again")
    if not isinstance(found, TorchFacts):
        return
    if not found.cuda:
        there = len(machine.gpus)
        fix = "install a CUDA build of torch" if there else None
        saw = f"a CPU build, and {there} GPUs" if there else "a CPU build"
        yield Line(name="torch cuda", state="error" if there else "ok", saw=saw, fix=fix)
        return
    driver = machine.driver_cuda
    if driver and Version(found.cuda).major > Version(driver).major:
        saw = f"built with CUDA {found.cuda}, and the driver runs up to {driver}"
        yield Line(name="torch cuda", state="error", saw=saw, fix="update the driver, or use a build for its CUDA")
    elif machine.gpus and not found.num_devices:
        saw = f"built with CUDA {found.cuda}, and sees none of {len(machine.gpus)} GPUs"
        yield Line(name="torch cuda", state="error", saw=saw, fix="look at CUDA_VISIBLE_DEVICES and at the driver")
    elif lost := [each for each in found.capabilities if not _built(each, found.built_for)]:
        saw = f"built for {' '.join(found.built_for)}, and a GPU is sm_{lost[0].replace('.', '')}"
        yield Line(name="torch cuda", state="error", saw=saw, fix="install a build of torch for this GPU")
    else:
        yield Line(name="torch cuda", state="ok", saw=f"CUDA {found.cuda}, {found.num_devices} devices")


def _built(capability: str, built_for: tuple[str, ...]) -> bool:
    """Tell whether a build runs on a device: same major version, no newer minor one; or it holds PTX to compile."""
    major, minor = map(int, capability.split("."))
    for name in built_for:
        kind, _, digits = name.partition("_")
        number = digits.rstrip("af")
        if number.isdigit() and (
            (kind == "sm" and int(number[:-1]) == major and int(number[-1]) <= minor)
            or (kind == "compute" and (int(number[:-1]), int(number[-1])) <= (major, minor))
        ):
            return True
    return not built_for


def _fragile(machine: MachineFacts) -> Iterator[Line]:
    torch = next((each.version for each in machine.requirements or () if each.name == "torch"), None)
    for name, (version, why) in machine.fragile.items():
        wanted = f"0.{Version(torch).minor + TORCHVISION_OFFSET}" if torch and name == "torchvision" else None
        if why is not None:
            saw = f"{version}: installed, and cannot be imported: {why}"
            fix = f"pip uninstall {name} (a broken one is worse than none), or install the one for torch {torch}"
            yield Line(name=name, state="error", saw=saw, fix=fix)
        elif wanted and not version.startswith(wanted + "."):
            saw = f"{version}, beside torch {torch}"
            yield Line(name=name, state="warning", saw=saw, fix=f"pip install --no-deps 'torchvision=={wanted}.*'")
        else:
            yield Line(name=name, state="ok", saw=version)


def _gpus(machine: MachineFacts) -> Iterator[Line]:
    if machine.driver_error:
        fix = "reload the driver, or restart the machine"
        yield Line(name="gpu", state="error", saw=f"nvidia-smi fails: {machine.driver_error}", fix=fix)
    elif not machine.gpus:
        fix = "everything but full-size training works; train on a machine with NVIDIA GPUs"
        yield Line(name="gpu", state="warning", saw="none, or no nvidia-smi", fix=fix)
    for number, gpu in enumerate(machine.gpus):
        saw = f"{gpu.name}, {gpu.memory_bytes / GIB:.0f} GiB, driver {gpu.driver}"
        known = "" if peak_flops(gpu.name, "bfloat16") else " (its arithmetic per second is not known: no MFU)"
        yield Line(name=f"gpu {number}", state="ok", saw=saw + known)
    if len({(gpu.name, gpu.memory_bytes) for gpu in machine.gpus}) > 1:
        saw = "of different kinds: every step waits for the slowest, and memory is that of the smallest"
        yield Line(name="gpus", state="warning", saw=saw, fix="set CUDA_VISIBLE_DEVICES to equal ones")


def _cpus(machine: MachineFacts) -> Iterator[Line]:
    host, count = machine.host, max(1, len(machine.gpus))
    few = host.num_cpus < CPUS_PER_GPU * count and bool(machine.gpus)
    fix = "use fewer loading threads, or more cores: decoding will hold the GPUs up" if few else None
    saw = f"{host.num_cpus} for {len(machine.gpus)} GPUs"
    yield Line(name="cpus", state="warning" if few else "ok", saw=saw, fix=fix)
    small = host.memory_bytes < MEMORY_PER_GPU_GIB * GIB * len(machine.gpus)
    fix = f"give {MEMORY_PER_GPU_GIB} GiB for each GPU" if small else None
    saw = f"{host.memory_bytes / GIB:.1f} GiB"
    yield Line(name="memory", state="warning" if small else "ok", saw=saw, fix=fix)


def _shared(machine: MachineFacts) -> Iterator[Line]:
    if machine.shared_bytes is None:
        return
    small, several = machine.shared_bytes < SHARED_GIB * GIB, len(machine.gpus) > 1
    state: State = "ok" if not small else "error" if several else "warning"
    fix = "start the container with --shm-size=8g or --ipc=host" if small else None
    yield Line(name="shared memory", state=state, saw=f"{machine.shared_bytes / GIB:.2f} GiB", fix=fix)


def _files(machine: MachineFacts) -> Iterator[Line]:
    if machine.open_files is None:
        return
    soft, hard = machine.open_files
    few = 0 <= soft < OPEN_FILES
    fix = f"ulimit -n {OPEN_FILES * 64}" if few else None
    yield Line(name="open files", state="warning" if few else "ok", saw=f"{soft:,} of at most {hard:,}", fix=fix)


def _codecs(machine: MachineFacts) -> Iterator[Line]:
    lost = [name for name in CODECS if name not in machine.codecs]
    state: State = "ok" if not lost else "error" if "h264" in lost else "warning"
    saw = f"PyAV {machine.av_version} decodes {' '.join(machine.codecs) or 'nothing'}"
    saw += f", not {' '.join(lost)}" if lost else ""
    fix = "pip install --force-reinstall av: its wheels hold all of them" if lost else None
    yield Line(name="decoder", state=state, saw=saw, fix=fix)


def _disk(machine: MachineFacts) -> Iterator[Line]:
    free = machine.host.free_disk_bytes
    small = free < FREE_GIB * GIB
    fix = "free space, or write to another disk; plan says how much a run needs" if small else None
    saw = f"{free / GIB:.1f} GiB free at {machine.folder}"
    yield Line(name="disk", state="warning" if small else "ok", saw=saw, fix=fix)
    if machine.write_error:
        fix = "make the folder writable for this user, or name another with --dir"
        yield Line(name="write test", state="error", saw=machine.write_error, fix=fix)
    elif machine.write_bytes_per_s is not None:
        yield Line(name="write test", state="ok", saw=f"{machine.write_bytes_per_s / 2**20:.0f} MiB/s, synced")


def _network(machine: MachineFacts) -> Iterator[Line]:
    if machine.hostname_error:
        fix = "add this machine's name to /etc/hosts: processes meet by it"
        yield Line(name="host name", state="warning", saw=machine.hostname_error, fix=fix)
    else:
        yield Line(name="host name", state="ok", saw="resolves")
    if machine.port_error:
        fix = "end what holds it, or give another in --rdzv-endpoint; one machine alone needs none"
        yield Line(name="port", state="warning", saw=machine.port_error, fix=fix)
    else:
        yield Line(name="port", state="ok", saw="the one where machines meet is free")
