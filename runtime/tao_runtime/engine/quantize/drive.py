"""Running the driver: a child process without a shell, its progress read line by line, its last words kept."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tao_runtime.engine.progress import StepProgress
from tao_runtime.errors import RunError

DRIVER: Final = Path(__file__).with_name("driver.py")
LOG: Final = "driver.log"
# A driver needs neither the hub nor what belongs to this environment.
_LEFT_OUT: Final = ("PYTHONPATH", "PYTHONHOME", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def drive(python: Path, request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Run a request to its end in `folder`; returns what the driver says of what it made.

    Raises:
        RunError: the driver failed; says why, and where its log is.
    """
    asked = folder / "request.json"
    asked.write_text(json.dumps(request, indent=1))
    environment = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    last: dict[str, Any] = {}
    with (
        (folder / LOG).open("w") as log,
        StepProgress(f"quantise ({request['scheme']})", 0) as progress,
        subprocess.Popen(
            [str(python), "-I", str(DRIVER), str(asked)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as child,
    ):
        assert child.stdout is not None
        for line in child.stdout:
            event = _read(line)
            if event.get("event") == "progress":
                progress.expect(int(event["total"]))
                progress.advance(by=int(event["done"]) - progress.done, note=str(event["phase"]))
            elif event:
                last = event
    if child.returncode == 0 and last.get("event") == "done":
        return last
    how = last.get("reason") or f"ended with exit code {child.returncode} and said nothing"
    raise RunError(f"quantising failed: {how}. What the libraries printed is in {folder / LOG}")


def _read(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
