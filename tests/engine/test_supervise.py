"""A child that is watched: how it ended is known, and a stop signal to its parent reaches it once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from tao_runtime.engine.supervise import run_child

SUPERVISE = """
import os, sys
from tao_runtime.engine.supervise import run_child
ended = run_child([sys.executable, "-c", sys.argv[1]], os.environ)
print(ended.code, ended.asked, ended.signal, flush=True)
"""
COUNT_SIGNALS = """
import signal, time
seen = []
signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
print("ready", flush=True)
while not seen:
    time.sleep(0.01)
time.sleep(0.2)
raise SystemExit(40 + len(seen))
"""


@pytest.mark.parametrize(
    ("code", "want"),
    [("pass", (0, None)), ("raise SystemExit(3)", (3, None)), ("import os; os.kill(os.getpid(), 9)", (-9, "SIGKILL"))],
)
def test_how_a_child_ended_is_known(code: str, want: tuple[int, str | None]) -> None:
    ended = run_child([sys.executable, "-c", code], os.environ)
    assert (ended.code, ended.signal, ended.asked) == (*want, None)


def test_a_stop_signal_reaches_the_child_once_and_the_handler_is_put_back() -> None:
    command = [sys.executable, "-c", SUPERVISE, COUNT_SIGNALS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "ready\n"
        os.killpg(parent.pid, signal.SIGTERM)  # as a terminal does: the whole group
        assert parent.stdout.readline() == "41 SIGTERM None\n"
        assert parent.wait(10) == 0


def test_a_thread_may_run_a_child() -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run_child([sys.executable, "-c", "pass"], os.environ).code))
    thread.start()
    thread.join(30)
    assert codes == [0]
