"""Bad input ends in findings: nothing crashes, nothing outside the folder is read, nothing in a file is executed."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import artefacts as make
from tao_runtime.audit import AuditReport, audit
from tao_runtime.audit.codes import CODES
from tao_runtime.audit.opcodes import PickleShapeError, Record, read_pickle
from tao_runtime.errors import InputError


def codes(report: AuditReport) -> list[str]:
    return [finding.rule.removeprefix("audit/") for finding in report.findings]


class Bomb:
    """A pickle of this leaves a file behind when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


PLACES = ["pytorch_model.bin", "model.pt", "weights.pth", "model.safetensors", "optimizer.pt", "adapter_model.bin",
          "part/.metadata", "config.json", "adapter_model.safetensors", "model.safetensors.index.json", "COMMIT",
          "training_args.bin"]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_no_pickle_is_executed(place: str, tmp_path: Path) -> None:
    bomb = tmp_path / "exploded"
    path = tmp_path / "out" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(Bomb(bomb)))
    report = audit(tmp_path / "out", values=True)
    assert not bomb.exists()
    assert report.findings or report.parts[0].pickles
    pickle.loads(path.read_bytes())  # noqa: S301 - proves that the bomb is one
    assert bomb.exists()


def test_a_bomb_is_inert_data(tmp_path: Path) -> None:
    made = read_pickle(pickle.dumps(Bomb(tmp_path / "x")))
    assert isinstance(made, Record) and made.name.endswith(".mkdir") and made.args == (str(tmp_path / "x"),)


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04", b"garbage", b"\x80\x04}}s.", b"(i__main__\nX\n.", b"\x80\x04h\x05."]
)
def test_what_is_no_table_is_refused(data: bytes) -> None:
    with pytest.raises(PickleShapeError):
        read_pickle(data)


def test_a_pickle_that_hashes_for_ever_is_refused() -> None:
    """40 tuples, each of the one before twice: as a key it would be hashed 2^40 times."""
    nested = b"\x80\x04}K\x01\x85\x94" + b"".join(b"h%c\x86\x94" % number for number in range(40)) + b"K\x01s."
    with pytest.raises(PickleShapeError, match="a key that cannot be one"):
        read_pickle(nested)


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "{absolute}", "link.safetensors", "a/../../outside.safetensors"]
)
def test_an_index_that_leads_out_is_not_followed(name: str, tmp_path: Path) -> None:
    outside = make.write_safetensors(tmp_path / "outside.safetensors", make.model_tensors())
    root = make.make_model(tmp_path / "model", shards=2)
    (root / "link.safetensors").symlink_to(outside)
    name = name.format(absolute=outside)
    make.edit_json(root / "model.safetensors.index.json", lambda index: index["weight_map"].update(ghost=name))
    report = audit(root, values=True)
    assert "path-outside" in codes(report)
    assert report.parts[0].tensors == len(make.model_tensors())


def test_links_of_the_hub_cache_are_followed(tmp_path: Path) -> None:
    repository = tmp_path / "models--a--b"
    real = make.make_model(tmp_path / "real")
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(real.iterdir())):
        shutil.move(path, repository / "blobs" / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert codes(audit(snapshot, values=True)) == []


def test_a_loop_of_links_and_a_linked_folder_end(tmp_path: Path) -> None:
    make.make_model(tmp_path)
    (tmp_path / "a.safetensors").symlink_to("b.safetensors")
    (tmp_path / "b.safetensors").symlink_to("a.safetensors")
    (tmp_path / "again").symlink_to(tmp_path)
    report = audit(tmp_path)
    assert set(codes(report)) == {"unreadable"} and len(report.parts) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    make.make_model(tmp_path / "model")
    (tmp_path / "model").chmod(0)
    try:
        assert codes(audit(tmp_path / "model")) == ["unreadable"]
    finally:
        (tmp_path / "model").chmod(0o700)


@pytest.mark.parametrize("where", ["path", "base"])
@pytest.mark.parametrize("name", ["nowhere", "no\0where", "x" * 5000])
def test_a_path_that_does_not_exist_is_no_finding(where: str, name: str, tmp_path: Path) -> None:
    make.make_model(tmp_path / "model")
    paths = {"path": str(tmp_path / "model"), "base": str(tmp_path / "model"), where: str(tmp_path / name)}
    with pytest.raises(InputError):
        audit(paths["path"], base=paths["base"])


@pytest.mark.parametrize("kind", ["weights", "text", "pickle"])
def test_one_file_can_be_audited(kind: str, tmp_path: Path) -> None:
    made = {
        "weights": make.write_safetensors(tmp_path / "a.safetensors", make.model_tensors()),
        "text": tmp_path / "notes.txt",
        "pickle": tmp_path / "a.pt",
    }
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "a.pt").write_bytes(b"\x80\x04.")
    want = {"weights": [], "text": ["unrecognised"], "pickle": ["pickle"]}
    assert codes(audit(made[kind])) == want[kind]


@pytest.mark.parametrize("header", [[], 1, "x", None, {"a": 1}, {"a": {"dtype": "F32"}}, {"__metadata__": {"a": 1}}, {},
                                    {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
                                    {"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}},
                                    {"a": {"dtype": "F32", "shape": [2**70], "data_offsets": [0, 2**72]}},
                                    {"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}},
                                    {"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}},
                                    {"a\ud800": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}])  # fmt: skip
def test_headers_that_are_wrong(header: Any, tmp_path: Path) -> None:
    make.write_safetensors(make.make_model(tmp_path) / "model.safetensors", {}, header=header)
    report = audit(tmp_path, values=True)
    assert report.findings
    json.loads(report.model_dump_json())


@pytest.mark.parametrize("value", [[], 1, None, "x", {"r": "8"}, {"peft_type": 5, "r": 8}, {"peft_type": "LORA"},
                                   {"peft_type": "LORA", "r": True}, {"peft_type": "LORA", "r": -8}])  # fmt: skip
def test_adapter_configurations_that_are_wrong(value: Any, tmp_path: Path) -> None:
    make.write_json(make.make_adapter(tmp_path) / "adapter_config.json", value)
    assert {"adapter-config", "json"} & set(codes(audit(tmp_path)))


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(.*)*x", "((a*)b*)*", "(", "*", "x" * 5000, "(?:q_proj|(?:v+)+)", "a{1,9}" * 40]
)
def test_patterns_that_are_broken_or_do_not_end(pattern: str, tmp_path: Path) -> None:
    config = {"target_modules": pattern, "rank_pattern": {pattern: 4}}
    report = audit(make.make_adapter(tmp_path / "a", **config), base=make.make_model(tmp_path / "base"))
    assert report.seconds < 5 and codes(report) == []


@pytest.mark.parametrize("total", [1, 10**12])
def test_a_size_that_is_not_that_of_the_tensors(total: int, tmp_path: Path) -> None:
    index = make.make_model(tmp_path, shards=2) / "model.safetensors.index.json"
    make.edit_json(index, lambda value: value["metadata"].update(total_size=total))
    assert codes(audit(tmp_path)) == ["index-size"]


def test_deep_json_is_a_finding(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors.index.json", "adapter_config.json", "model_index.json"):
        folder = make.make_model(tmp_path / name)
        (folder / name).write_text("[" * 200_000)
        assert "json" in codes(audit(folder))


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change a file as a disk, a network or a person does: bits, a cut, a repeat, numbers, names."""
    raw = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(raw)) if raw else 0
        match rng.randrange(6):
            case 0 if raw:
                raw[place] ^= 1 << rng.randrange(8)
            case 1:
                del raw[place : place + rng.randint(1, 40)]
            case 2:
                raw[place:place] = raw[place : place + rng.randint(1, 40)]
            case 3:
                word = rng.choice(
                    [b"null", b"[]", b"{}", b"-1", b"1e999", b"NaN", b'"x"', b"true", b"9" * 30, b"\\u0000"]
                )
                raw[place : place + rng.randint(0, 6)] = word
            case 4:
                digits = [index for index, byte in enumerate(raw) if 48 <= byte <= 57]
                if digits:
                    raw[rng.choice(digits)] = rng.choice(b"0123456789")
            case _:
                raw[:8] = rng.randbytes(8)
    return bytes(raw)


SOURCES: dict[str, Callable[[Path], Path]] = {
    "model": lambda root: make.make_model(root, shards=2),
    "adapter": make.make_adapter,
    "pipeline": make.make_pipeline,
}


def fuzz(kind: str, count: int, root: Path) -> int:
    """Audit mutated copies; return in how many something was found."""
    rng = random.Random(kind)
    healthy = SOURCES[kind](root / "healthy")
    base = make.make_model(root / "base")
    names = sorted(path.relative_to(healthy) for path in healthy.rglob("*") if path.is_file())
    caught = 0
    for number in range(count):
        name = rng.choice(names)
        before = (healthy / name).read_bytes()
        (healthy / name).write_bytes(mutate(before, rng))
        report = audit(healthy, base=base if number % 2 and kind != "pipeline" else None, values=True)
        assert {finding.rule for finding in report.findings} <= set(CODES)
        json.loads(report.model_dump_json())
        caught += bool(report.findings)
        (healthy / name).write_bytes(before)
    return caught


@pytest.mark.parametrize("kind", SOURCES)
def test_mutated_files_give_findings_and_no_traceback(kind: str, tmp_path: Path) -> None:
    assert fuzz(kind, 150, tmp_path) > 60


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOURCES)
def test_many_mutated_files_give_no_traceback(kind: str, tmp_path: Path) -> None:
    assert fuzz(kind, 20_000, tmp_path) > 8_000
