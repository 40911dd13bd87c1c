"""What calibration runs in: a virtual environment of pinned packages, made on first use. Imports no torch."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tao_runtime.data.media import cache_path
from tao_runtime.data.packages import version_of
from tao_runtime.engine.commits import write_atomically
from tao_runtime.engine.progress import StepProgress
from tao_runtime.errors import Finding, FindingsError, Fix
from tao_runtime.plan.model import QuantizePlan

PYTHON: Final = "TAO_RUN_QUANTIZE_PYTHON"  # the interpreter that the driver runs in, for the worker
LIBRARY: Final = "compressed-tensors"
VARIABLE: Final = "TAO_RUN_QUANTIZE_ENV"  # where it is, unless --env says
REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
MARK: Final = "tao-run.json"  # written last: an environment without it is not whole
MADE_HERE: Final = "made-by-tao-run"  # what may be installed into
CPU_INDEX: Final = "https://download.pytorch.org/whl/cpu"  # PyTorch's documented index of CPU builds
TOLD: Final = ("torch", "transformers", "compressed-tensors", "llmcompressor")
_SECRET: Final = re.compile(r"//[^/@\s]+@")
_ASK: Final = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def prepare_interpreter(plan: QuantizePlan, given: Path | None, *, num_gpus: int) -> None:
    """Tell the worker, by its environment, which interpreter its driver runs in.

    Raises:
        FindingsError: there is none, and none can be made; or rounding has not what it needs here.
    """
    if plan.scheme.method != "round":
        os.environ[PYTHON] = str(ensure(place(given), num_gpus=num_gpus))
        return
    os.environ[PYTHON] = sys.executable
    if version_of(LIBRARY) is None:
        fix = f"pip install 'tao-run[train]', which has {LIBRARY}"
        raise FindingsError([_finding(f"{LIBRARY} is not installed", "the library that writes the format", fix)])


def place(given: Path | None) -> Path:
    """Return where the environment is, or will be: as given, by the variable, or in the user's cache."""
    if given is not None:
        return given.absolute()
    if named := os.environ.get(VARIABLE):
        return Path(named).absolute()
    return cache_path().with_name(f"quantize-{_digest()[:12]}")


def _digest() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


def pins() -> dict[str, str]:
    """Return the pinned versions by package, as the requirements file has them."""
    lines = (line.partition("==") for line in REQUIREMENTS.read_text().splitlines() if "==" in line)
    return {name: version for name, _, version in lines}


def ensure(root: Path, *, num_gpus: int) -> Path:
    """Return the environment's interpreter; make the environment first if it is not there.

    Raises:
        FindingsError: the place holds something else, or the packages cannot be installed.
    """
    python = root / "bin" / "python"
    root.parent.mkdir(parents=True, exist_ok=True)
    with _alone(root):
        mark = root / MARK
        if mark.is_file() and json.loads(mark.read_text()).get("requirements") == _digest() and python.exists():
            return python
        if root.exists() and any(root.iterdir()) and not (root / MADE_HERE).is_file():
            _accept(root, python)
            return python
        _make(root, python, num_gpus=num_gpus)
        write_atomically(mark, json.dumps({"requirements": _digest(), "versions": versions(python)}) + "\n")
    return python


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Wait for whoever is making the same environment."""
    with root.with_name(f".{root.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def versions(python: Path) -> dict[str, str]:
    """Return the versions of the main packages of an environment."""
    done = subprocess.run(
        [str(python), "-I", "-c", _ASK, *TOLD], capture_output=True, text=True, check=False, timeout=60
    )
    found = json.loads(done.stdout) if done.returncode == 0 else {}
    return {str(name): str(version) for name, version in found.items()}


def _accept(root: Path, python: Path) -> None:
    """Take an environment that someone else made, if it has the versions that are pinned here."""
    if not python.exists():
        raise FindingsError([_finding(f"{root} holds other things", "a new directory, or a virtual environment")])
    have, want = versions(python), pins()
    wrong = [f"{name} {have.get(name, 'missing')}" for name in TOLD[1:] if have.get(name) != want[name]]
    if wrong:
        fix = f"name a directory that does not exist: it is made. Or install {REQUIREMENTS}"
        raise FindingsError(
            [_finding(f"{root}: {', '.join(wrong)}", ", ".join(f"{name} {want[name]}" for name in TOLD[1:]), fix)]
        )


def _make(root: Path, python: Path, *, num_gpus: int) -> None:
    """Make the environment and install the pins; what an earlier attempt left is used."""
    wanted = pins()
    with StepProgress("make the quantising environment", len(wanted) + 2) as progress:
        progress.say(f"{root}: installing {len(wanted)} pinned packages, once")
        if not python.exists():
            _run([sys.executable, "-m", "venv", str(root)])
        (root / MADE_HERE).touch()
        progress.advance(note="torch")
        if sys.platform == "linux" and not num_gpus and not versions(python).get("torch", "").endswith("+cpu"):
            # Asked for by its local version first, so that the CUDA build and its packages are never fetched.
            torch = f"torch=={wanted['torch'].replace('*', '0')}+cpu"
            quiet = [str(python), "-m", "pip", "install", "-qq", "--no-deps"]
            if _run([*quiet, torch], check=False):
                _run([*quiet, "--index-url", CPU_INDEX, torch])
        progress.advance()
        _run([str(python), "-m", "pip", "install", "-r", str(REQUIREMENTS)], progress=progress)


def _run(command: Sequence[str], *, check: bool = True, progress: StepProgress | None = None) -> int:
    """Run a command of venv or pip.

    Raises:
        FindingsError: it fails; says its last words, without what may be a password in an address.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    last: list[str] = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if progress is not None and line.startswith(("Collecting ", "Requirement already")):
                progress.advance(note=line.split()[1].split("==")[0])
            if line.strip() and not line.startswith("WARNING"):
                last = [*last[-4:], line.strip()]
    if child.returncode and check:
        said = _SECRET.sub("//***@", " / ".join(last[-2:]))[:400]
        raise FindingsError([_finding(f"{' '.join(command[1:4])} failed: {said}", "packages that can be installed")])
    return child.returncode


def _finding(saw: str, want: str, fix: str = "") -> Finding:
    text = fix or f"look at pip's sources, or make it elsewhere and name it: --env DIR or {VARIABLE}"
    return Finding(rule="quantize/environment", severity="error", where="--env", saw=saw, want=want, fix=Fix(text=text))
