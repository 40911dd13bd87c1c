"""Everything that is generated from the specs: rendered once, then either written or compared byte for byte."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tao_runtime
from tao_runtime.bank.blocks import fill_blocks
from tao_runtime.bank.contracts import CONTRACTS
from tao_runtime.bank.hub import hub_assets
from tao_runtime.bank.pages import parameters_page, rules_page
from tao_runtime.bank.schema import contract_schema, skill_manifest, spec_schema, to_json
from tao_runtime.bank.skills import Skill, read_skills
from tao_runtime.bank.templates import render_template
from tao_runtime.errors import Finding, Fix
from tao_runtime.spec.families import FAMILIES, Family

# What only a generator may put there; anything else in these places is an orphan.
_GENERATED = ("schemas/*", "skills/*/schemas/*", "skills/*/references/spec_template_*.yaml", "skills/*/assets/*.json")
_REGENERATE = "run tao-run dev generate"


def generate(root: str | Path, *, check: bool = False) -> tuple[Finding, ...]:
    """Write the generated files of the repository at `root`, or with `check` compare them and change nothing.

    Returns what is wrong: files that differ (with `check`), files nobody generates, marks that name no block.
    """
    root = Path(root)
    files, findings = render(root)
    for path, content in sorted(files.items()):
        target = root / path
        if target.is_file() and target.read_bytes() == content:
            continue
        if check:
            findings += (_stale(path, missing=not target.is_file()),)
        else:
            _write(target, content)
    return findings + tuple(_orphans(root, files))


def render(root: Path) -> tuple[dict[Path, bytes], tuple[Finding, ...]]:
    """Return every generated file by its path in the repository, and what is wrong with the marks in pages."""
    skills = read_skills(root)
    files: dict[Path, bytes] = {Path("manifest.json"): to_json(_manifest(skills))}
    for name, model in CONTRACTS.items():
        files[Path("schemas") / f"{name}.schema.json"] = to_json(contract_schema(model))
    for skill in skills:
        files.update(_skill_files(skill))
    findings: list[Finding] = []
    for path, family in _pages(root, skills):
        text = (root / path).read_text(encoding="utf-8")
        filled, problems = fill_blocks(text, family, file=str(path))
        findings.extend(problems)
        if "tao-run:begin" in text and path not in files:
            files[path] = filled.encode()
    return files, tuple(findings)


def _skill_files(skill: Skill) -> dict[Path, bytes]:
    family = skill.family
    if family is None:
        return {}
    schemas, references = skill.directory / "schemas", skill.directory / "references"
    files = {
        schemas / "manifest.json": to_json(skill_manifest(skill.name, family, skill.info)),
        references / "parameters.md": parameters_page(family).encode(),
        references / "rules.md": rules_page(family).encode(),
    }
    if assets := hub_assets(family):
        files[skill.directory / "assets" / "hub.json"] = to_json(assets)
    for action, spec in family.actions.items():
        files[schemas / f"{action}.schema.json"] = to_json(spec_schema(spec))
        files[references / f"spec_template_{action}.yaml"] = render_template(spec).encode()
    return files


def _pages(root: Path, skills: tuple[Skill, ...]) -> Iterator[tuple[Path, Family | None]]:
    if (root / "README.md").is_file():
        yield Path("README.md"), None
    for path in sorted((root / "docs").glob("*.md")):
        yield path.relative_to(root), None
    for skill in skills:
        for path in sorted((root / skill.directory).rglob("*.md")):
            yield path.relative_to(root), skill.family


def _manifest(skills: tuple[Skill, ...]) -> dict[str, object]:
    return {
        "schema_version": 1,
        "name": "tao-run",
        "version": tao_runtime.__version__,
        "families": {
            family.name: {"title": family.title, "actions": list(family.actions)} for family in FAMILIES.values()
        },
        "skills": {
            skill.name: {
                "path": skill.directory.as_posix(),
                "family": skill.family.name if skill.family else None,
                "actions": list(skill.family.actions) if skill.family else [],
                "automl_enabled": bool(skill.info.get("automl_enabled", False)),
            }
            for skill in skills
        },
        "contracts": {name: f"schemas/{name}.schema.json" for name in CONTRACTS},
    }


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _stale(path: Path, *, missing: bool) -> Finding:
    return Finding(
        rule="bank/stale",
        severity="error",
        where=str(path),
        saw="missing" if missing else "not what the specs and rules give",
        want="the generated text",
        fix=Fix(text=_REGENERATE),
    )


def _orphans(root: Path, files: dict[Path, bytes]) -> Iterator[Finding]:
    for pattern in _GENERATED:
        for path in sorted(root.glob(pattern)):
            if path.is_file() and path.relative_to(root) not in files:
                yield Finding(
                    rule="bank/orphan",
                    severity="error",
                    where=str(path.relative_to(root)),
                    saw="a file that nothing generates",
                    want="only generated files here",
                    fix=Fix(text="remove it, or move it elsewhere"),
                )
