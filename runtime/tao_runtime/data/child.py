"""A child process that answers lines with lines, each within a time limit; when it does not, it is ended."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import tao_runtime

START_S: Final = 60  # a child may take so long to import its libraries


class Child:
    """One process of a module that says an empty line when it is ready. Started when asked, and anew when ended."""

    def __init__(self, module: str, limit_s: float) -> None:
        self.module, self.limit_s = module, limit_s
        self.process: subprocess.Popen[bytes] | None = None
        self._read = b""

    def ask(self, request: object) -> None:
        """Send a request. Raises BrokenPipeError if the child is gone, OSError if none can be started."""
        process = self.process or self._start()
        assert process.stdin
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()

    def answer(self) -> bytes | None:
        """Return a line, b'' if the child is gone, None if the time is up."""
        return self._line(self.limit_s)

    def _start(self) -> subprocess.Popen[bytes]:
        package = str(Path(tao_runtime.__file__).parents[1])
        paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        self._read = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module, str(self.limit_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        if not self._line(START_S):
            raise OSError(f"{sys.executable} -m {self.module} does not start (code {self.stop()})")
        return self.process

    def stop(self) -> int:
        """End the process; returns its exit code. The next request starts another."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def _line(self, limit_s: float) -> bytes | None:
        assert self.process and self.process.stdout
        descriptor, until = self.process.stdout.fileno(), time.monotonic() + limit_s
        while b"\n" not in self._read:
            left = until - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                return None
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return b""
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        return line + b"\n"


def end_text(code: int) -> str:
    """Say how a process ended."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"
