#!/usr/bin/env python3
"""Check a launch before it costs anything: a spec as `tao-run check` does, or a platform, paths and required keys."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tao_runtime.data.launch import check_launch, split_flag
from tao_runtime.errors import ExitCode, FindingsError, InputError
from tao_runtime.preflight.prepare import prepare
from tao_runtime.preflight.report import Report, from_findings, merged


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog="Exit status: 0 right, 1 findings, 2 cannot be read.")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the spec")
    parser.add_argument("--spec", help="spec file (YAML, TOML or JSON)")
    parser.add_argument("--action", help="train, evaluate, inference or quantize; found from the keys if left out")
    parser.add_argument("--offline", action="store_true", help="do without the hub")
    parser.add_argument("--platform", help="where the run will be launched")
    parser.add_argument("--path", action="append", default=[], metavar="LABEL=PATH")
    parser.add_argument("--json-required-field", action="append", default=[], metavar="LABEL=FIELD[,FIELD]")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    given = parser.parse_args()
    if given.overrides and not given.spec:
        parser.error("overrides need --spec")
    if not (given.spec or given.platform or given.path or given.json_required_field):
        parser.error("nothing to check: give --spec, --platform or --path")
    try:
        paths = dict(split_flag("--path", text) for text in given.path)
        pairs = (split_flag("--json-required-field", text) for text in given.json_required_field)
        launch = check_launch(given.platform, paths, {label: names.split(",") for label, names in pairs})
        report = from_findings(launch, action="launch", family="")
        if given.spec:
            report = merged(check_spec(given), report)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.INPUT
    print(report.model_dump_json(by_alias=True, indent=2) if given.json else report.render())
    return report.exit_code


def check_spec(given: argparse.Namespace) -> Report:
    """Return the report of a spec; a spec that is wrong in itself gives one too."""
    try:
        return prepare(Path(given.spec), given.overrides, action=given.action, offline=given.offline).report
    except FindingsError as error:
        return from_findings(error.findings, action=given.action or "spec", family="")


if __name__ == "__main__":
    sys.exit(main())
