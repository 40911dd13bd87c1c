"""The house stands: floors point left, the dry side knows no torch, walls hold, families stay in their rooms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import house

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "runtime" / "tao_runtime"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))
}

# A family may be named outside its modules only where a reason stands beside the path.
FAMILY_ALLOWED = {
    "errors.py": "an example in the description of a field",
    "spec/families.py": "the registry: one line per family",
    "plan/make.py": "hands a spec to the module of its family",
}

CATCH_ALLOWED = {
    "checkpoint.py": "what a saving thread raised is kept and raised by finish()",
    "load_ahead.py": "what a loading thread raised is raised where its sample is needed",
}

FORBID_AND_IMPORT = """
import importlib, sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {heavy}:
            raise ImportError(f"{{name}} is forbidden on the dry side")
sys.meta_path.insert(0, Forbid())
for module in sys.argv[1:]:
    importlib.import_module(module)
print(len(sys.argv) - 1)
"""


def tracked_texts() -> dict[str, str]:
    """Every tracked text file by its path."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing says which files are the project's")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    texts = {}
    for name in filter(None, listed.decode().split("\0")):
        data = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b"\0"
        if b"\0" not in data[:8192]:
            texts[name] = data.decode("utf-8")
    return texts


def import_without_heavy(modules: list[str], path: Path | None = None) -> subprocess.CompletedProcess[str]:
    code = FORBID_AND_IMPORT.format(heavy=sorted(house.HEAVY))
    return subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, cwd=path, check=False)


def test_every_floor_is_known() -> None:
    floors = {house.floor_of(module) for module in MODULES} - {None}
    assert floors <= set(house.RANK), f"unknown floors {floors - set(house.RANK)}: give them a rank in tests/house.py"


def test_dry_side_and_cli_import_without_torch() -> None:
    dry = [name.removesuffix(".__init__") for name in MODULES if house.floor_of(name) in house.DRY | {"cli"}]
    done = import_without_heavy([name for name in dry if not name.endswith("__main__")])
    assert done.returncode == 0, done.stderr


def test_dry_side_law_fails_on_a_module_that_imports_torch(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("import torch\n")
    done = import_without_heavy(["planted"], tmp_path)
    assert done.returncode == 1
    assert "torch is forbidden on the dry side" in done.stderr


@pytest.mark.parametrize("law", [house.upward_imports, house.heavy_imports])
def test_imports(law) -> None:
    assert [breach for module, path in MODULES.items() for breach in law(module, path.read_text())] == []


@pytest.mark.parametrize("folder", ["runtime", "scripts"])
def test_walls(folder: str) -> None:
    files = [path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in {".py", ".sh"}]
    assert files
    assert [
        breach for path in files for breach in house.walls(path.relative_to(ROOT).as_posix(), path.read_text())
    ] == []


def test_families_stay_in_their_rooms() -> None:
    names = {path.relative_to(PACKAGE).as_posix(): path for path in MODULES.values()}
    breaches = {name: house.family_names(name, path.read_text()) for name, path in names.items()}
    assert {name: found for name, found in breaches.items() if found and name not in FAMILY_ALLOWED} == {}


def test_no_unsafe_code() -> None:
    files = [*MODULES.values(), *(ROOT / "scripts").glob("*.py")]
    breaches = [breach for path in files for breach in house.unsafe_code(path.name, path.read_text())]
    assert [breach for breach in breaches if breach.split(":")[0] not in CATCH_ALLOWED] == []


def test_texts_name_no_machine_and_leave_nothing_undone() -> None:
    texts = tracked_texts().items()
    assert [breach for name, text in texts for breach in house.machine_text(name, text)] == []


@pytest.mark.parametrize(
    ("module", "source", "want"),
    [
        ("tao_runtime.spec.load", "from tao_runtime.plan import model", "plan is not to the left of spec"),
        ("tao_runtime.spec.load", "from ..engine import x", "engine is not to the left of spec"),
        ("tao_runtime.bank.x", "def f():\n    import tao_runtime.deft.gaps", "deft is not to the left of bank"),
        ("tao_runtime.deft.__init__", "from tao_runtime import cli", "cli is not to the left of deft"),
    ],
)
def test_floor_law_fails(module: str, source: str, want: str) -> None:
    assert want in house.upward_imports(module, source)[0]


@pytest.mark.parametrize("source", ["def f():\n    from torch import nn", "importlib.import_module('peft.tuners')"])
def test_heavy_law_fails_on_lazy_imports_and_only_on_the_dry_side(source: str) -> None:
    assert "on the dry side" in house.heavy_imports("tao_runtime.plan.make", source)[0]
    assert house.heavy_imports("tao_runtime.engine.train", source) == []


def test_floor_law_allows_the_own_and_the_left() -> None:
    source = "from tao_runtime.errors import Finding\nfrom . import base\nimport tao_runtime.spec.base\nimport json"
    assert house.upward_imports("tao_runtime.spec.load", source) == []


def test_walls_fail() -> None:
    assert "401 lines" in house.walls("a.sh", "x\n" * 401)[0]
    assert "61 lines" in house.walls("a.py", "def f():\n" + "    x = 1\n" * 60)[0]
    assert "7 parameters" in house.walls("a.py", "def f(a, /, b, c, d, *, e, g, h): ...\n")[0]
    assert house.walls("a.py", "def f(self, a, b, c, d, *, e, g): ...\n") == []


def test_family_law_fails_outside_the_family_only() -> None:
    assert "names a family" in house.family_names("plan/make.py", "x = 'Qwen3VL'")[0]
    assert house.family_names("plan/make.py", '"""As Qwen3-VL does."""\nx = 1  # Qwen3-VL') == []
    assert house.family_names("plan/cosmos_reason.py", "x = 'Qwen3VL'") == []
    assert house.family_names("spec/cosmos_reason/train.py", "x = 'Qwen3VL'") == []


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    f()\nexcept Exception:\n    g()",
        "try:\n    f()\nexcept:\n    g()",
        "try:\n    f()\nexcept BaseException:\n    g()",
        "subprocess.run('ls', shell=True)",
        "os.system('ls')",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.FullLoader)",
        "yaml.unsafe_load(text)",
    ],
)
def test_unsafe_law_fails(source: str) -> None:
    assert house.unsafe_code("a.py", source)
    assert house.unsafe_code("a.py", "yaml.load(t, Loader=CoreLoader)\ntry:\n    f()\nexcept OSError:\n    g()") == []


@pytest.mark.parametrize("text", ["see /roo" + "t/x", "in /tm" + "p/x", "# TO" + "DO later"])
def test_machine_law_fails(text: str) -> None:
    assert house.machine_text("a.md", text) == [f"a.md:1 says {house.FORBIDDEN_TEXT.search(text).group()!r}"]
