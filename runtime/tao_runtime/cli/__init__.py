"""`tao-run`: thin commands over one function each. Importing this imports no torch, and help not even pydantic."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line; turn what went wrong into one message and an exit code, never a traceback."""
    # Imports make objects that stay: looking for garbage in them takes a fifth of a small command.
    gc.set_threshold(50_000)
    from tao_runtime.cli.app import app

    try:
        app()
    except BaseException as error:
        code = None if isinstance(error, SystemExit) else explain_failure(error)
        if code is None:
            raise
        sys.exit(code)
    finally:
        gc.freeze()  # the interpreter ends: what is left is not searched once more


def explain_failure(error: BaseException) -> int | None:
    """Print what went wrong and return the exit code; None for what is not ours to explain."""
    from tao_runtime.errors import ExitCode, FindingsError, TaoError

    if isinstance(error, KeyboardInterrupt):
        print("stopped; what was committed is kept, run the same command again to go on", file=sys.stderr)
        return int(ExitCode.STOPPED)
    if isinstance(error, FindingsError):
        for finding in error.findings:
            print(finding.render(), file=sys.stderr)
    elif isinstance(error, TaoError):
        print(f"error: {error}", file=sys.stderr)
    else:
        return None
    return int(error.exit_code)
