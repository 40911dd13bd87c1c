"""torchrun without its tracebacks: `python -m tao_runtime.engine.agent TORCHRUN_ARGS`; a dead rank is named."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from tao_runtime.engine.run_dir import RunLog
from tao_runtime.engine.supervise import PARENT, STOP_SIGNALS, die_with_parent
from tao_runtime.errors import ExitCode

# How long the ranks may take to save after a stop signal, and how long a rank may hang after another one died.
SHUTDOWN_S = 300


def main(arguments: list[str], run_dir: Path) -> int:
    """Run the workers; returns the exit code of the first that failed, 128 + signal if a signal ended it."""
    die_with_parent()
    os.environ[PARENT] = str(os.getpid())  # for the workers
    signals = ",".join(number.name for number in (*STOP_SIGNALS, signal.SIGHUP, signal.SIGQUIT))
    try:
        torchrun([f"--signals-to-handle={signals}", f"--shutdown-timeout={SHUTDOWN_S}", *arguments])
    except SignalException as stop:
        return 128 + int(stop.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:  # it had no time for a last word
            name = signal.Signals(-failure.exitcode).name
            RunLog(run_dir, is_main=True).status("failed", rank=rank, reason=f"rank {rank} was ended by {name}")
            return 128 - failure.exitcode
        return failure.exitcode
    return int(ExitCode.DONE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], Path(sys.argv[1])))
