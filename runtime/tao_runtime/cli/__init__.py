"""`tao-run`: thin commands over one function each. Importing this imports no torch."""

from __future__ import annotations

import sys

from tao_runtime.errors import ExitCode, FindingsError, TaoError


def main() -> None:
    """Run the command line; turn what went wrong into one message and an exit code, never a traceback."""
    from tao_runtime.cli.app import app

    try:
        app()
    except FindingsError as error:
        for finding in error.findings:
            print(finding.render(), file=sys.stderr)
        sys.exit(int(error.exit_code))
    except TaoError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(int(error.exit_code))
    except KeyboardInterrupt:
        print("stopped; what was committed is kept, run the same command again to go on", file=sys.stderr)
        sys.exit(int(ExitCode.STOPPED))
