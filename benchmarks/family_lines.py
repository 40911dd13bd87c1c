"""What a family costs: the lines of the modules that carry its name, floor by floor, and those of its skill.

Usage: python benchmarks/family_lines.py
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from tao_runtime.spec.families import FAMILIES

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "runtime/tao_runtime"
RESULT = Path(__file__).parent / "results/family_lines.json"


def lines(files: list[Path]) -> int:
    """Return the lines that are not empty."""
    return sum(sum(bool(line.strip()) for line in file.read_text().splitlines()) for file in files)


def modules(family: str, floor: Path) -> list[Path]:
    """Return a family's modules on a floor: its file, or the files of its package."""
    return [
        path for path in floor.rglob("*.py") if path.stem == family or family in path.relative_to(floor).parent.parts
    ]


def main() -> None:
    """Count, print, record."""
    floors = sorted(path for path in SOURCE.iterdir() if path.is_dir())
    table = {
        family: {floor.name: count for floor in floors if (count := lines(modules(family, floor)))}
        for family in FAMILIES
    }
    everything = lines(list(SOURCE.rglob("*.py")))
    result = {
        "date": datetime.date.today().isoformat(),
        "lines_of_all_floors": everything,
        "families": {family: {"all": sum(counts.values()), **counts} for family, counts in table.items()},
        "share_of_families": round(sum(sum(counts.values()) for counts in table.values()) / everything, 3),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
