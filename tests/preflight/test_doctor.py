"""The doctor: every fault of a machine gets its line and a fix, a good machine none; and it looks at the real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tao_runtime.data.facts import HostFacts
from tao_runtime.data.machine import Gpu, MachineFacts, probe_machine, read_gpus
from tao_runtime.data.packages import Requirement, TorchFacts, requirements
from tao_runtime.preflight.doctor import Line, diagnose

GIB = 2**30
H100 = Gpu("NVIDIA H100 80GB HBM3", 80 * GIB, "570.1")
GOOD = MachineFacts(
    host=HostFacts(2, 80 * GIB, 16, 128 * GIB, 500 * GIB),
    python="3.12.1",
    gpus=(H100, H100),
    driver_cuda="13.0",
    driver_error="",
    requirements=(
        Requirement("av>=14", "av", "", "18.1.0"),
        Requirement("torch==2.13.*", "torch", "train", "2.13.0+cu130"),
    ),
    torch=TorchFacts("13.0", 2, ("9.0",), ("sm_80", "sm_90", "compute_120")),
    fragile={"torchvision": ("0.28.0", None)},
    shared_bytes=8 * GIB,
    open_files=(1 << 16, 1 << 16),
    codecs=("h264", "hevc", "av1", "vp9", "mpeg4"),
    av_version="18.1.0",
    write_bytes_per_s=1e9,
)


def bad_lines(**changes: Any) -> list[Line]:
    return [line for line in diagnose(replace(GOOD, **changes)).lines if line.state != "ok"]


def test_a_good_machine_has_no_complaint() -> None:
    found = diagnose(GOOD)
    assert found.ok and [line for line in found.lines if line.state != "ok" or line.fix] == []


@pytest.mark.parametrize(
    ("changes", "name", "state", "words"),
    [
        ({"python": "3.10.2"}, "python", "error", "3.10.2"),
        ({"requirements": None}, "packages", "warning", "no pins"),
        ({"requirements": (Requirement("av>=14", "av", "", None),)}, "av", "error", "not installed; want av>=14"),
        (
            {"requirements": (Requirement("torch==2.13.*", "torch", "train", "2.12.1"),), "fragile": {}},
            "torch",
            "error",
            "2.12.1; want torch==2.13.*",
        ),
        ({"torch": "ImportError: libcudart"}, "torch", "error", "cannot be imported: ImportError: libcudart"),
        ({"torch": TorchFacts("", 0, (), ())}, "torch cuda", "error", "a CPU build, and 2 GPUs"),
        ({"driver_cuda": "12.4"}, "torch cuda", "error", "built with CUDA 13.0, and the driver runs up to 12.4"),
        ({"torch": TorchFacts("13.0", 0, (), ())}, "torch cuda", "error", "sees none of 2 GPUs"),
        ({"torch": TorchFacts("13.0", 2, ("7.0",), ("sm_80", "sm_90"))}, "torch cuda", "error", "a GPU is sm_70"),
        (
            {"fragile": {"torchvision": ("0.28.0", "RuntimeError: operator torchvision::nms does not exist")}},
            "torchvision",
            "error",
            "cannot be imported: RuntimeError: operator torchvision::nms",
        ),
        ({"fragile": {"torchvision": ("0.27.1", None)}}, "torchvision", "warning", "beside torch 2.13.0"),
        ({"driver_error": "couldn't communicate with the driver", "gpus": ()}, "gpu", "error", "couldn't communicate"),
        ({"gpus": (), "torch": None}, "gpu", "warning", "none, or no nvidia-smi"),
        ({"gpus": (H100, replace(H100, memory_bytes=40 * GIB))}, "gpus", "warning", "of different kinds"),
        ({"host": replace(GOOD.host, num_cpus=7)}, "cpus", "warning", "7 for 2 GPUs"),
        ({"host": replace(GOOD.host, memory_bytes=31 * GIB)}, "memory", "warning", "31.0 GiB"),
        ({"host": replace(GOOD.host, free_disk_bytes=GIB)}, "disk", "warning", "1.0 GiB free"),
        ({"shared_bytes": 64 << 20}, "shared memory", "error", "0.06 GiB"),
        ({"shared_bytes": 64 << 20, "gpus": (H100,)}, "shared memory", "warning", "0.06 GiB"),
        ({"open_files": (256, 4096)}, "open files", "warning", "256 of at most 4,096"),
        ({"codecs": ("hevc",)}, "decoder", "error", "not h264 av1"),
        ({"write_error": "/data: Read-only file system"}, "write test", "error", "Read-only file system"),
        ({"hostname_error": "node7: unknown"}, "host name", "warning", "node7"),
        ({"port_error": "29500: Address already in use"}, "port", "warning", "already in use"),
    ],
)
def test_every_fault_has_a_line_and_a_fix(changes: dict[str, Any], name: str, state: str, words: str) -> None:
    (line,) = bad_lines(**changes)
    assert (line.name, line.state) == (name, state)
    assert words in line.saw and line.fix
    assert diagnose(replace(GOOD, **changes)).ok == (state != "error")


@pytest.mark.parametrize(("capability", "fits"), [("8.9", True), ("9.0", True), ("12.1", True), ("10.0", False)])
def test_a_build_runs_on_its_major_version_and_on_what_its_ptx_is_older_than(capability: str, fits: bool) -> None:
    found = bad_lines(torch=TorchFacts("13.0", 2, (capability,), ("sm_86", "sm_90a", "compute_120")))
    assert (not found) == fits


def test_driver_and_devices_are_read_from_its_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_gpus("NVIDIA A100-SXM4-80GB, 81920, 550.54\n[N/A], [N/A], 550.54\n") == (
        Gpu("NVIDIA A100-SXM4-80GB", 80 * GIB, "550.54"),
    )
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not reach the driver.'\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = probe_machine(tmp_path, imports=False)
    assert found.driver_error == "NVIDIA-SMI has failed because it could not reach the driver."


def test_a_folder_that_cannot_be_written_is_found_by_writing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert probe_machine(tmp_path, imports=False).write_error == ""
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
    assert "Not a directory" in probe_machine(tmp_path / "file" / "runs", imports=False).write_error


def test_a_broken_torchvision_is_found_without_importing_it_here(tmp_path: Path) -> None:
    """A distribution that is installed and fails on import, as the CUDA build beside a CPU torch does."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    info = tmp_path / "torchvision-0.28.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    code = "import sys; from tao_runtime.cli import main; sys.argv[0] = 'tao-run'\n"
    code += "try:\n    main()\nfinally:\n    assert not {'torch', 'torchvision'} & set(sys.modules)\n"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", "--json", "--dir", str(tmp_path)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False,
    )  # fmt: skip
    lines = {line["name"]: line for line in json.loads(done.stdout)["lines"]}
    assert done.returncode == 1, done.stderr
    assert "operator torchvision::nms does not exist" in lines["torchvision"]["saw"]
    assert "uninstall torchvision" in lines["torchvision"]["fix"]


def test_pins_are_those_of_the_package() -> None:
    found = requirements()
    if found is None:
        pytest.skip("not installed as a package")
    assert {each.name: each.extra for each in found}.items() >= {("av", ""), ("torch", "train"), ("pytest", "dev")}
