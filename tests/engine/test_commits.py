"""The commit protocol: whatever instant a save dies at, what is there is whole or does not count."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tao_runtime.engine.commits import (
    COMMIT,
    POINTER,
    Commit,
    commit_name,
    damage,
    hash_files,
    list_commits,
    list_uncommitted,
    prune,
    read_json,
    seal,
    write_atomically,
)
from tao_runtime.errors import InputError


def commit_of(step: int) -> Commit:
    return Commit(step=step, world_size=2, identity="i", spec_sha256="s", files={})


def save(root: Path, step: int, *, launch: str = "a") -> Path:
    """Write what a save writes before it is sealed."""
    temporary = root / f".saving-{commit_name(step)}-{launch}"
    (temporary / "model").mkdir(parents=True)
    (temporary / "model" / "shard").write_bytes(b"w" * 10 * step)
    return temporary


def commit(root: Path, step: int) -> Path:
    final = root / commit_name(step)
    seal(save(root, step), final, commit_of(step))
    return final


def steps(root: Path) -> list[int]:
    return [each.step for _, each in list_commits(root)]


def test_a_sealed_save_is_a_commit(tmp_path: Path) -> None:
    final = commit(tmp_path, 3)
    [(directory, found)] = list_commits(tmp_path)
    assert (directory, found.step, found.files) == (final, 3, {"model/shard": 30})
    assert (tmp_path / POINTER).read_text() == "iter_000000003\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [final.name, POINTER]


def test_without_commit_there_is_no_checkpoint(tmp_path: Path) -> None:
    final = commit(tmp_path, 3)
    (final / COMMIT).unlink()
    (tmp_path / "iter_7").mkdir()
    (tmp_path / "iter_7" / COMMIT).write_text("x")
    assert steps(tmp_path) == []
    assert list_commits(tmp_path / "nowhere") == []


def test_commits_are_listed_by_step(tmp_path: Path) -> None:
    for step in (200, 9, 1000):
        commit(tmp_path, step)
    assert steps(tmp_path) == [9, 200, 1000]


class Crash(BaseException):
    """The process dies here."""


# What dies -> the steps that count afterwards.
DEATHS: dict[str, list[int]] = {"before COMMIT": [1], "before rename": [1], "before pointer": [1, 2]}


def die(point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the calls of `seal` that lie behind a point raise instead of doing their work."""
    real_replace, real_rename = Path.replace, Path.rename
    doomed = {"before COMMIT": COMMIT, "before pointer": POINTER}.get(point)

    def replace(self: Path, target: Path) -> Path:
        if Path(target).name == doomed:
            raise Crash
        return real_replace(self, target)

    def rename(self: Path, target: Path) -> Path:
        if point == "before rename":
            raise Crash
        return real_rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(Path, "rename", rename)


@pytest.mark.parametrize("point", DEATHS)
def test_a_save_that_dies_counts_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    commit(tmp_path, 1)
    with monkeypatch.context() as patch:
        die(point, patch)
        with pytest.raises(Crash):
            commit(tmp_path, 2)
    left = {path.name for path in tmp_path.iterdir()}
    assert steps(tmp_path) == DEATHS[point]
    assert all(damage(directory, found) == [] for directory, found in list_commits(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == left, "looking at commits deletes nothing"
    seal(save(tmp_path, 2, launch="b"), tmp_path / commit_name(2), commit_of(2))
    assert steps(tmp_path) == [1, 2]


def test_an_attempt_that_was_never_committed_gives_way(tmp_path: Path) -> None:
    (tmp_path / commit_name(4) / "model").mkdir(parents=True)
    (tmp_path / commit_name(4) / "model" / "stale").write_text("x")
    final = commit(tmp_path, 4)
    assert not (final / "model" / "stale").exists()
    assert steps(tmp_path) == [4]


@pytest.mark.parametrize(("keep", "kept"), [(1, [5]), (2, [3, 5]), (9, [1, 2, 3, 5]), (-1, [1, 2, 3, 5])])
def test_prune_keeps_the_newest(tmp_path: Path, keep: int, kept: list[int]) -> None:
    for step in (1, 2, 3, 5):
        commit(tmp_path, step)
    removed = prune(tmp_path, keep)
    assert steps(tmp_path) == kept
    assert removed == [commit_name(step) for step in (1, 2, 3, 5) if step not in kept]


def test_prune_removes_leftovers_older_than_the_newest_commit_only(tmp_path: Path) -> None:
    old, young = save(tmp_path, 1, launch="dead"), save(tmp_path, 9, launch="alive")
    final = commit(tmp_path, 5)
    at = (final / COMMIT).stat().st_mtime
    os.utime(old, (at - 10, at - 10))
    os.utime(young, (at + 10, at + 10))
    assert prune(tmp_path, -1) == [old.name]
    assert young.is_dir() and not old.exists()


def test_prune_without_a_commit_removes_nothing(tmp_path: Path) -> None:
    left = save(tmp_path, 1)
    os.utime(left, (1, 1))
    assert prune(tmp_path, 1) == []
    assert left.is_dir()


HARM: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "nothing": (lambda path: None, []),
    "gone": (lambda path: path.unlink(), ["model/shard: missing"]),
    "cut": (lambda path: path.write_bytes(b"w" * 5), ["model/shard: 5 bytes, committed with 20"]),
    "grown": (lambda path: path.write_bytes(b"w" * 50), ["model/shard: 50 bytes, committed with 20"]),
}


@pytest.mark.parametrize("harm", HARM)
def test_damage_is_seen(tmp_path: Path, harm: str) -> None:
    final = commit(tmp_path, 2)
    break_it, expected = HARM[harm]
    break_it(final / "model" / "shard")
    [(directory, found)] = list_commits(tmp_path)
    assert damage(directory, found) == expected


@pytest.mark.parametrize("text", ["", "{", '{"step": 1}', '{"step": "x"}', "[]"])
def test_a_commit_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (commit(tmp_path, 2) / COMMIT).write_text(text)
    with pytest.raises(InputError, match=r"iter_000000002/COMMIT: \d+ problems.*move its directory away"):
        list_commits(tmp_path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, '{"a": 1}')
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(Crash()))
        with pytest.raises(Crash):
            write_atomically(path, '{"a": 2}')
    assert read_json(path) == {"a": 1}


def test_a_bit_that_flipped_is_seen_by_hashes_only(tmp_path: Path) -> None:
    final = commit(tmp_path, 2)
    (final / "model" / "shard").write_bytes(b"w" * 19 + b"x")
    [(directory, found)] = list_commits(tmp_path)
    assert damage(directory, found) == []
    [problem] = damage(directory, found, hashes=True)
    want, saw = found.hashes["model/shard"], hash_files(final, ["model/shard"])["model/shard"]
    assert problem == f"model/shard: sha256 {saw[:12]}, committed with {want[:12]}" and want != saw


def test_every_file_is_hashed_and_a_hash_that_is_known_is_kept(tmp_path: Path) -> None:
    temporary = save(tmp_path, 3)
    (temporary / "cursor.json").write_text("{}")
    seal(temporary, tmp_path / commit_name(3), commit_of(3).model_copy(update={"hashes": {"model/shard": "known"}}))
    [(directory, found)] = list_commits(tmp_path)
    assert found.files.keys() == found.hashes.keys() == {"cursor.json", "model/shard"}
    assert found.hashes["model/shard"] == "known"
    assert found.hashes["cursor.json"] == hash_files(directory, ["cursor.json"])["cursor.json"]


def test_what_is_committed_is_never_replaced(tmp_path: Path) -> None:
    final = commit(tmp_path, 3)
    again = save(tmp_path, 3, launch="b")
    (again / "model" / "shard").write_bytes(b"another")
    seal(again, final, commit_of(3))
    assert (final / "model" / "shard").read_bytes() == b"w" * 30
    assert not again.exists()


def test_what_a_dead_save_left_is_listed(tmp_path: Path) -> None:
    commit(tmp_path, 1)
    save(tmp_path, 2, launch="dead")
    (tmp_path / commit_name(4)).mkdir()
    assert list_uncommitted(tmp_path) == [f".saving-{commit_name(2)}-dead", commit_name(4)]
    assert list_uncommitted(tmp_path / "nowhere") == []
