"""`python -m tao_runtime.audit PATH`: the audit alone; needs pydantic, numpy and rich, and nothing is set up."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tao_runtime.audit import audit
from tao_runtime.audit.show import print_report, reading
from tao_runtime.errors import TaoError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the audit and return the exit code."""
    parser = argparse.ArgumentParser("python -m tao_runtime.audit", description="Audit what a trainer wrote.")
    parser.add_argument("path", help="a model, an adapter, a pipeline, a checkpoint, or a folder of these")
    parser.add_argument("--base", help="the model that it was trained from")
    parser.add_argument("--values", action=argparse.BooleanOptionalAction, help="read the bytes of all weights")
    parser.add_argument("--expect-unchanged", action="append", default=[], metavar="TOWER")
    parser.add_argument("--expect-changed", action="append", default=[], metavar="TOWER")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    given = parser.parse_args(arguments)
    try:
        with reading() as progress:
            report = audit(
                given.path,
                base=given.base,
                values=given.values,
                expect_unchanged=given.expect_unchanged,
                expect_changed=given.expect_changed,
                progress=progress,
            )
    except TaoError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    print_report(report, as_json=given.json)
    return int(report.exit_code)


if __name__ == "__main__":
    sys.exit(main())
