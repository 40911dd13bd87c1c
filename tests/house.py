"""The laws of the house as functions on source text: each returns what breaks it, as readable sentences."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

# Floors in order: a module imports its own and those of a lower rank. Equal rank: neighbours, closed to each other.
RANK = {
    "errors": 0,
    "spec": 1,
    "data": 2,
    "score": 3,
    "plan": 4,
    "preflight": 5,
    # Left of bank, which renders codes and the schemas of what they write.
    "audit": 6,
    "ingest": 6,
    **dict.fromkeys(("bank", "deft", "ship"), 7),
    "engine": 8,
    "cli": 9,
}
DRY = frozenset(floor for floor, rank in RANK.items() if rank < RANK["engine"])
HEAVY = frozenset({"torch", "transformers", "diffusers", "peft", "accelerate"})
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 400, 60, 6

FAMILIES = ("cosmos_reason", "cosmos3_reasoner", "cosmos3_vision", "cosmos_predict1", "cosmos_predict2")
FAMILY_NAME = re.compile(r"cosmos_reason|cosmos3|cosmos_predict|qwen", re.IGNORECASE)
UNSAFE_LOADERS = frozenset({"Loader", "FullLoader", "UnsafeLoader", "CLoader", "CFullLoader", "CUnsafeLoader"})
# Split, so that this file does not break the law it states.
FORBIDDEN_TEXT = re.compile(
    "|".join(("/roo" + "t/", "/tm" + "p/", "/hom" + "e/[a-z]", r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b"))
)


def imports(module: str, source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, absolute dotted name) of every import, at any depth. The module of a package ends in `.__init__`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            prefix = ".".join(part for part in (base, node.module) if part)
            yield from ((node.lineno, f"{prefix}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from ((node.lineno, str(arg.value)) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def floor_of(dotted: str) -> str | None:
    """Return the floor of `tao_runtime.<floor>...`, None for the package itself and for other packages."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "tao_runtime" and len(parts) > 1 and parts[1] != "__init__" else None


def upward_imports(module: str, source: str) -> list[str]:
    """Imports of a floor that is not to the left of the module's own."""
    own = floor_of(module)
    if own is None:
        return []
    return [
        f"{module}:{line} imports {name}: {target} is not to the left of {own}"
        for line, name in imports(module, source)
        if (target := floor_of(name)) in RANK and target != own and RANK[target] >= RANK[own]
    ]


def heavy_imports(module: str, source: str) -> list[str]:
    """Imports of torch and its like on the dry side, also lazy ones."""
    if floor_of(module) not in DRY:
        return []
    return [
        f"{module}:{line} imports {name} on the dry side"
        for line, name in imports(module, source)
        if name.split(".")[0] in HEAVY
    ]


def walls(path: str, source: str) -> list[str]:
    """Files, functions and signatures that are too large.

    On the cli floor a function's parameters are the options of a command: as many as its users need.
    """
    count = source.count("\n")
    found = [f"{path}: {count} lines, want <= {MAX_FILE_LINES}"] if count > MAX_FILE_LINES else []
    if not path.endswith(".py"):
        return found
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            parameters = len([name for name in names if name not in {"self", "cls"}])
            if lines > MAX_FUNCTION_LINES:
                found.append(f"{path}:{node.lineno} {node.name}: {lines} lines, want <= {MAX_FUNCTION_LINES}")
            if parameters > MAX_PARAMETERS and "/cli/" not in path:
                found.append(f"{path}:{node.lineno} {node.name}: {parameters} parameters, want <= {MAX_PARAMETERS}")
    return found


def family_names(path: str, source: str) -> list[str]:
    """Code that names a family in a module that is not of that family (no part of its path is the family's basename).

    Comments and docstrings may: they cite where a formula comes from.
    """
    if any(family in path.removesuffix(".py").split("/") for family in FAMILIES):
        return []
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    lines = ast.unparse(tree).splitlines()
    return [f"{path} names a family: {line.strip()[:80]}" for line in lines if FAMILY_NAME.search(line)]


def unsafe_code(path: str, source: str) -> list[str]:
    """Swallowed exceptions, shells and unsafe YAML."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            passed_on = caught == "BaseException" and any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            if caught in {"everything", "Exception", "BaseException"} and not passed_on:
                found.append(f"{path}:{node.lineno} catches {caught}")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            loader = options.get("Loader", ast.unparse(node.args[1]) if len(node.args) > 1 else "Loader")
            if options.get("shell") == "True" or called in {"os.system", "os.popen"}:
                found.append(f"{path}:{node.lineno} runs a shell")
            if called in {"yaml.load", "yaml.load_all"} and loader.split(".")[-1] in UNSAFE_LOADERS:
                found.append(f"{path}:{node.lineno} {called} without a safe loader")
            if called.startswith(("yaml.unsafe_load", "yaml.full_load")):
                found.append(f"{path}:{node.lineno} {called}")
    return found


def machine_text(path: str, text: str) -> list[str]:
    """Paths of somebody's machine, and work left undone."""
    return [
        f"{path}:{number} says {match.group()!r}"
        for number, line in enumerate(text.splitlines(), 1)
        for match in FORBIDDEN_TEXT.finditer(line)
    ]
