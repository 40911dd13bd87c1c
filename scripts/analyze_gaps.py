#!/usr/bin/env python3
"""Find the questions that an evaluated model gets wrong: a parquet of failures, and the worst slices as a table.

Exit code 0: done; 1: findings of severity error (what can be written is written); 2: unreadable input.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tao_runtime.deft.gaps import find_gaps
from tao_runtime.deft.records import open_set
from tao_runtime.deft.table import counting_rows, print_gaps
from tao_runtime.errors import TaoError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results-dir", required=True, type=Path, help="directory with one results.json, or that file")
    parser.add_argument("--gaps-parquet", required=True, type=Path, help="where to write the failures")
    parser.add_argument(
        "--kpi-ann-path", required=True, type=Path, help="annotations that were evaluated (or their root)"
    )
    parser.add_argument("--kpi-media-path", default="", help="media root; default: where the annotations are")
    parser.add_argument("--match", choices=("parsed", "exact"), default="parsed", help="exact: .lower().strip() only")
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of a table")
    args = parser.parse_args()
    try:
        source = open_set(args.kpi_ann_path, args.kpi_media_path)
        with counting_rows() as progress:
            options = {"gaps_parquet": args.gaps_parquet, "match": args.match, "progress": progress}
            report = find_gaps(args.results_dir, source=source, **options)
    except TaoError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(report.model_dump_json(by_alias=True, indent=2)) if args.json else print_gaps(report)
    return report.exit_code


sys.exit(main())
