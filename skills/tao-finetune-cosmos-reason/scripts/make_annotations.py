"""Write a LLaVA annotations.json from a folder of clips and a CSV with the columns file, question, answer.

The frame rate of each record is read from the clip's own header. Every row that cannot be used is reported, and then
nothing is written.
Exit codes: 0 written, 1 some rows are wrong, 2 the CSV cannot be read. Needs PyAV, which tao-run brings along.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

import av

COLUMNS = ("file", "question", "answer")


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path}: columns {reader.fieldnames}; want also {', '.join(missing)}")
        return [{key: (row[key] or "").strip() for key in COLUMNS} for row in reader]


def frame_rate(path: Path) -> float:
    """Average frames per second, as the header says. Raises OSError, or ValueError if there is no video in it."""
    try:
        with av.open(str(path)) as container:
            rate = container.streams.video[0].average_rate if container.streams.video else None
    except av.FFmpegError as error:
        raise ValueError(f"not a readable video ({error})") from error
    if not rate:
        raise ValueError("no video stream with a frame rate")
    return float(rate)


def make_record(number: int, row: dict[str, str], media: Path) -> dict[str, object]:
    empty = [key for key in COLUMNS if not row[key]]
    if empty:
        raise ValueError(f"{', '.join(empty)} is empty")
    path = (media / row["file"]).resolve()
    if not path.is_relative_to(media.resolve()):
        raise ValueError("lies outside the media folder")
    if not path.is_file():
        raise ValueError(f"no such file in {media}")
    return {
        "id": f"{path.stem}-{number}",
        "video": row["file"],
        "video_fps": round(frame_rate(path), 6),
        "conversations": [
            {"from": "human", "value": f"<video>\n{row['question']}"},
            {"from": "gpt", "value": row["answer"]},
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True, help="CSV with the columns file, question, answer")
    parser.add_argument("--media", type=Path, required=True, help="folder that the files are relative to")
    parser.add_argument("--out", type=Path, required=True, help="annotation file to write; not overwritten")
    args = parser.parse_args()
    if args.out.exists():
        print(f"{args.out}: exists; want a new file", file=sys.stderr)
        return 2
    try:
        rows = read_rows(args.labels)
    except (OSError, ValueError, csv.Error) as error:
        print(error, file=sys.stderr)
        return 2
    records, wrong = [], []
    for number, row in enumerate(rows, 1):
        try:
            records.append(make_record(number, row, args.media))
        except (OSError, ValueError) as error:
            wrong.append(f"{args.labels} row {number} ({row['file']}): {error}")
    if wrong or not records:
        print("\n".join(wrong or [f"{args.labels}: no rows"]), file=sys.stderr)
        return 1
    temporary = args.out.with_name(f".{args.out.name}.tmp")
    temporary.write_text(json.dumps(records, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    temporary.replace(args.out)
    print(f"{args.out}: {len(records)} records")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
