"""One child process, watched: stop signals reach it, and it never outlives its parent. Imports no torch."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

# What asks a run to stop: a scheduler's warning, its end, and Ctrl-C.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
PARENT = "TAO_RUN_PARENT"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended."""

    code: int  # negative: the signal that ended it
    asked: str | None  # the stop signal that was passed on to it, if any

    @property
    def signal(self) -> str | None:
        """The name of the signal that ended it, if one did."""
        return signal.Signals(-self.code).name if self.code < 0 else None


def run_child(command: Sequence[str], environment: Mapping[str, str]) -> Ended:
    """Run a command to its end, passing on the stop signals that this process gets meanwhile.

    The child leads its own session: Ctrl-C on a terminal then reaches it once, from here, and not twice.
    """
    with subprocess.Popen(command, env={**environment, PARENT: str(os.getpid())}, start_new_session=True) as child:
        asked: list[str] = []

        def pass_on(number: int, frame: FrameType | None) -> None:
            asked.append(signal.Signals(number).name)
            child.send_signal(number)

        if threading.current_thread() is not threading.main_thread():
            return Ended(child.wait(), None)  # signals are the main thread's alone
        before = {number: signal.signal(number, pass_on) for number in STOP_SIGNALS}
        try:
            code = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return Ended(code, asked[0] if asked else None)


def die_with_parent() -> None:
    """Have this process killed when its parent dies, so that nothing goes on writing into a run that starts again."""
    expected = os.environ.pop(PARENT, None)
    parent = os.getppid()
    if expected is not None and int(expected) != parent:
        os._exit(int(signal.SIGKILL) + 128)  # it died before we could ask
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL)) == 0:
        if os.getppid() != parent:
            os._exit(int(signal.SIGKILL) + 128)
        return
    threading.Thread(target=_watch_parent, args=(parent,), name="parent", daemon=True).start()


def _watch_parent(parent: int) -> None:
    """Where the kernel has no such service: look every second."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(int(signal.SIGKILL) + 128)
