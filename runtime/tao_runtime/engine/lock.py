"""One launcher per run directory: a lock that the system takes back when its process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tao_runtime.errors import Finding, FindingsError, Fix

LOCK = ".lock"


@contextmanager
def alone_in(run_dir: Path) -> Iterator[None]:
    """Hold the directory's lock.

    Raises:
        FindingsError: another process holds it; it is named.
    """
    with (run_dir / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise FindingsError([_taken(run_dir, file.read().strip())]) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _taken(run_dir: Path, holder: str) -> Finding:
    return Finding(
        rule="run/locked",
        severity="error",
        where="results_dir",
        saw=f"process {holder or 'of another user'} is running in {run_dir}",
        want="one run in a directory at a time",
        fix=Fix(text="wait for it, stop it, or choose another results_dir"),
    )
