"""Every skill is true: frontmatter valid, links alive, commands parse, and blocks tagged `run` run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from skills_ref import validate

from skill_text import Block, blocks, check_command, links, tao_run_lines

ROOT = Path(__file__).parents[2]
SKILLS = sorted(path.parent for path in (ROOT / "skills").glob("*/SKILL.md"))
PAGES = [(skill, page) for skill in SKILLS for page in sorted(skill.rglob("*.md"))]
MAX_LINES, MAX_TOKENS, MAX_REFERENCE_TOKENS = 200, 5000, 8000
GENERATED = {"parameters.md", "rules.md"}  # as long as the spec has keys

each_skill = pytest.mark.parametrize("skill", SKILLS, ids=lambda path: path.name)
each_page = pytest.mark.parametrize(("skill", "page"), PAGES, ids=lambda path: path.stem)


def tokens(text: str) -> float:
    """Upper estimate of the tokens of an English text."""
    return max(len(text) / 3.5, len(text.split()) * 1.4)


def test_there_are_skills() -> None:
    assert SKILLS


@each_skill
def test_frontmatter_is_valid(skill: Path) -> None:
    assert validate(skill) == []


@each_skill
def test_budgets(skill: Path) -> None:
    text = (skill / "SKILL.md").read_text()
    assert text.count("\n") < MAX_LINES
    assert tokens(text) < MAX_TOKENS
    for page in (skill / "references").glob("*.md"):
        assert page.name in GENERATED or tokens(page.read_text()) < MAX_REFERENCE_TOKENS, page


@each_skill
def test_every_file_is_linked_from_the_skill(skill: Path) -> None:
    linked = links((skill / "SKILL.md").read_text())
    files = [path for folder in ("references", "evals") for path in (skill / folder).rglob("*") if path.is_file()]
    assert {path.relative_to(skill).as_posix() for path in files} - linked == set()


@each_page
def test_links_lead_somewhere(skill: Path, page: Path) -> None:
    dead = [target for target in links(page.read_text()) if not (page.parent / target).exists()]
    assert dead == []


@each_page
def test_links_stay_in_the_skill(skill: Path, page: Path) -> None:
    """A skill is installed alone: what it links to must come along."""
    outside = [
        target for target in links(page.read_text()) if not (page.parent / target).resolve().is_relative_to(skill)
    ]
    assert outside == []


@each_page
def test_commands_parse(skill: Path, page: Path) -> None:
    wrong = [problem for line in tao_run_lines(page.read_text()) if (problem := check_command(line))]
    assert wrong == []


@pytest.mark.parametrize(
    ("line", "want"),
    [
        ("tao-run tarin --spec a.yaml", "No such command"),
        ("tao-run train --spce a.yaml", "No such option"),
        ("tao-run train", "Missing option"),
        ("tao-run train --spec", "requires an argument"),
    ],
)
def test_a_wrong_command_is_noticed(line: str, want: str) -> None:
    assert want in (check_command(line) or "")


@each_page
def test_code_blocks_parse(skill: Path, page: Path) -> None:
    for block in blocks(page.read_text()):
        if block.language == "bash":
            done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
            assert done.returncode == 0, f"{page.name}:{block.line}: {done.stderr}"
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "yaml":
            yaml.safe_load(block.text)
        else:
            pytest.fail(f"{page.name}:{block.line}: block without a language that can be checked: {block.language!r}")


@each_skill
def test_recipes_load(skill: Path) -> None:
    from tao_runtime.spec.load import load_spec

    recipes = sorted(path for path in (skill / "assets" / "recipes").iterdir() if path.suffix in {".yaml", ".toml"})
    assert recipes
    assert [load_spec(recipe).action for recipe in recipes] == ["train"] * len(recipes)


@each_skill
def test_skill_info_agrees_with_the_specs(skill: Path) -> None:
    from tao_runtime.spec.families import FAMILIES
    from tao_runtime.spec.keys import iter_keys

    info = yaml.safe_load((skill / "references" / "skill_info.yaml").read_text())
    family = FAMILIES[info["family"]]
    assert set(info["actions"]) == set(family.actions) == set(info["data_sources"]) == set(info["spec_params"])
    keys = {action: {item.path for item in iter_keys(spec)} for action, spec in family.actions.items()}
    for action, entry in info["actions"].items():
        named = {*entry["inputs"], *entry["outputs"], *info["data_sources"][action], *info["spec_params"][action]}
        assert named <= keys[action]
    assert info["spec_shorthand_keys"] == dict(family.actions["train"].aliases)
    assert {info["gpu_spec_key"], info["node_spec_key"]} <= keys["train"]


@each_skill
def test_skill_info_commands_parse(skill: Path) -> None:
    info = yaml.safe_load((skill / "references" / "skill_info.yaml").read_text())
    wrong = [problem for entry in info["actions"].values() if (problem := check_command(entry["command"]))]
    assert wrong == []


@each_skill
def test_evals(skill: Path) -> None:
    tasks = json.loads((skill / "evals" / "evals.json").read_text())
    assert len(tasks) >= 12
    assert len({task["id"] for task in tasks}) == len(tasks)
    assert {task["expected_skill"] for task in tasks} == {skill.name, None}
    for task in tasks:
        assert task["question"] and task["expected_behavior"]
        assert [problem for line in task["expected_commands"] if (problem := check_command(line))] == []
    asked_to_train = [task for task in tasks if task["id"].startswith("train-") and task["expected_skill"]]
    assert all(any(" train " in line for line in task["expected_commands"]) for task in asked_to_train)


@each_skill
def test_rules_that_are_named_exist(skill: Path) -> None:
    from tao_runtime.preflight.rules import RULES

    text = (skill / "references" / "troubleshooting.md").read_text()
    named = set(re.findall(r"`([a-z0-9_]+/[a-z0-9-]+)`", text))
    floors = {name.split("/")[0] for name in RULES}
    assert {name for name in named if name.split("/")[0] in floors} - set(RULES) == set()
    assert len(named & set(RULES)) > 10


@each_skill
def test_what_a_skill_says_is_available_is(skill: Path) -> None:
    info = yaml.safe_load((skill / "references" / "skill_info.yaml").read_text())
    assert "available" in {entry["availability"] for entry in info["actions"].values()}


@each_skill
def test_run_blocks_run(skill: Path, tmp_path: Path) -> None:
    """A reader who only copies the blocks, in order, gets from clips to a gaps table."""
    environment = {**os.environ, "SKILL_DIR": str(skill), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    todo: list[tuple[str, Block]] = [("SKILL.md", block) for block in blocks((skill / "SKILL.md").read_text())]
    for page in sorted((skill / "references").glob("*.md")):
        todo += [(page.name, block) for block in blocks(page.read_text())]
    if not any(block.run for _, block in todo):
        return  # a generator: its demo is a test of its own, and takes minutes
    from tao_runtime.engine.demo.cosmos_reason import prepare

    prepare(tmp_path, share=0.2)  # a tiny model, and real clips in train/, val/, heldout/ and pool/
    for name, block in todo:
        if block.run:
            command = ["bash", "-euo", "pipefail", "-c", block.text]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{name}:{block.line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert (tmp_path / "runs" / "gaps.parquet").is_file()
    assert (tmp_path / "runs" / "next" / "annotations.json").is_file()


def test_command_lines_are_found() -> None:
    block = "```bash\nA=1 tao-run check --spec a.yaml > out # why\n```\n"
    text = f"see `tao-run explain KEY`, `tao-run check`\n{block}`tao-run` alone"
    assert list(tao_run_lines(text)) == ["tao-run explain KEY", "tao-run check --help", "tao-run check --spec a.yaml"]
