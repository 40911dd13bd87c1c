"""What a stop signal does to a process: the first is noted with its echoes, a later one kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("torch")

LISTEN = """
import sys, time
from tao_runtime.engine.dist import join_world
from tao_runtime.engine.stop import listen_for_stop
with join_world() as world, listen_for_stop(world) as stop:
    print("ready", flush=True)
    while not stop.agreed():
        time.sleep(0.01)
    print(stop.signal, flush=True)
    time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def listener(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process that listens, and goes on for some seconds after it was asked to stop."""
    command = [sys.executable, "-c", LISTEN, str(request.param)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.mark.parametrize("listener", [0.3], indirect=True)
def test_the_first_signal_and_its_echoes_are_one_request(listener: subprocess.Popen[str]) -> None:
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        listener.send_signal(number)
        time.sleep(0.02)
    assert listener.stdout is not None and listener.stdout.readline() == "SIGUSR1\n"
    assert listener.wait(20) == 0


@pytest.mark.parametrize("listener", [60], indirect=True)
def test_a_second_signal_kills_at_once(listener: subprocess.Popen[str]) -> None:
    listener.send_signal(signal.SIGTERM)
    assert listener.stdout is not None and listener.stdout.readline() == "SIGTERM\n"
    time.sleep(2.2)
    listener.send_signal(signal.SIGTERM)
    assert listener.wait(5) == -signal.SIGTERM
