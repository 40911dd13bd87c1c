"""Text and keys of clip records: what a caption must not hold, what says nothing, and names that nobody reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factory import make_clip
from tao_runtime.data.captions import caption_of
from tao_runtime.data.clip_keys import RECORD, WINDOW, ClipKeyFold
from tao_runtime.data.facts import DatasetFacts
from tao_runtime.data.fold import Collector
from tao_runtime.data.probe import probe_dataset
from tao_runtime.spec.base import DatasetRef

WINDOW_OK = {"start_frame": 0, "end_frame": 15, "temporal_interval": 1}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "a.mp4")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def probe(root: Path, clip: Path, *records: object) -> DatasetFacts:
    """A file of records."""
    (root / "d.jsonl").write_text("\n".join(map(json.dumps, records)))
    return probe_dataset(DatasetRef("train", str(root / "d.jsonl"), str(clip.parent), "d", "d", format="video-jsonl"))


def in_lines(root: Path, clip: Path, **fields: object) -> DatasetFacts:
    """A file of one clip with one window."""
    return probe(root, clip, {"vision_path": clip.name, "t2w_windows": [{**WINDOW_OK, **fields}]})


def in_folder(root: Path, clip: Path, text: str) -> DatasetFacts:
    """A folder of one clip."""
    (root / "videos").mkdir()
    (root / "metas").mkdir()
    (root / "videos" / "a.mp4").write_bytes(clip.read_bytes())
    (root / "metas" / "a.txt").write_text(text)
    return probe_dataset(DatasetRef("train", str(root), "", "d", "d", format="video-folder"))


def rules(facts: DatasetFacts) -> list[str]:
    return [finding.rule for finding in facts.findings]


@pytest.mark.parametrize(
    "fields",
    [{"caption": "a square<|im_end|> moves"}, {"caption_json": {"subjects": ["a <|vision_pad|>"]}},
     {"caption_json": {"<|im_start|>": "a square"}}, {"caption_json": '{"a": "<|im_end|>"}'}],
)  # fmt: skip
def test_a_special_token_of_a_chat_in_a_caption_is_an_error(tmp_path: Path, clip: Path, fields: dict) -> None:
    facts = in_lines(tmp_path, clip, **fields)
    assert rules(facts) == ["clips/special-token"] and facts.num_usable == 0
    assert "write &lt;| and |&gt;" in facts.findings[0].render()


@pytest.mark.parametrize("text", ["a </s> b", "a <pad>", "<extra_id_12> moves", "an <unk> moves"])
def test_a_special_token_of_t5_in_a_caption_is_an_error(tmp_path: Path, clip: Path, text: str) -> None:
    facts = in_folder(tmp_path, clip, text)
    assert rules(facts) == ["clips/special-token"] and facts.num_usable == 0
    assert str(tmp_path / "metas" / "a.txt") in facts.findings[0].render()


def test_special_tokens_of_another_tokenizer_are_plain_text(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert rules(in_folder(tmp_path / "folder", clip, "the words <|im_end|> on a wall")) == []
    assert rules(in_lines(tmp_path, clip, caption="a </s> on a <pad>, 1 < 2 |> x")) == []


@pytest.mark.parametrize(
    "fields", [{"caption": "a square \ud83d"}, {"caption_json": {"a": "b \udc00"}}, {"caption_json": {"\ud800": 1}}]
)
def test_a_lone_surrogate_in_a_caption_is_an_error(tmp_path: Path, clip: Path, fields: dict) -> None:
    facts = in_lines(tmp_path, clip, **fields)
    assert rules(facts) == ["dataset/text-not-unicode"] and facts.num_usable == 0
    assert rules(in_lines(tmp_path, clip, caption="a smile \U0001f600")) == []


NOTHING = [" ", "[]", "\u200b\u2060 \ufeff", "\u200b...", "...", "<think>A square moves.</think>", "<think></think>.",
           "<think>\u200b</think>\u200b", "</think>", "<answer> </answer>"]  # fmt: skip


@pytest.mark.parametrize("text", NOTHING)
def test_a_caption_that_says_nothing_is_empty(tmp_path: Path, clip: Path, text: str) -> None:
    for number, fields in enumerate(({"caption": text}, {"caption_json": text}, {"caption_json": {"a": [text, None]}})):
        (tmp_path / str(number)).mkdir()
        facts = in_lines(tmp_path / str(number), clip, **fields)
        assert (rules(facts), facts.num_usable) == (["clips/caption-empty"], 0), fields
    (tmp_path / "folder").mkdir()
    assert rules(in_folder(tmp_path / "folder", clip, text)) == ["clips/caption-empty"]


@pytest.mark.parametrize("fields", [{"caption_json": "{}"}, {"caption_json": {"a": {"b": ""}}}, {"caption_json": []}])
def test_a_structured_caption_without_content_is_empty(tmp_path: Path, clip: Path, fields: dict) -> None:
    assert rules(in_lines(tmp_path, clip, **fields)) == ["clips/caption-empty"]


def test_a_caption_that_says_little_is_one() -> None:
    for text in ("a", "(a square)", "é", "<b>", "<think>so</think> a square", "\U0001f600", "3 < 4"):
        assert caption_of({"caption": text}) is not None, text
    assert caption_of({"caption_json": {"number": 0}}) is not None and caption_of({"caption_json": {"a": False}})


def test_a_caption_that_upstream_takes_first_is_named(tmp_path: Path, clip: Path) -> None:
    facts = in_lines(tmp_path, clip, **{"caption": "plain", "some_32b_rewrite-dense": "rewritten"})
    assert rules(facts) == ["clips/unknown-key"] and "upstream reads it before caption" in facts.findings[0].render()


def test_misspelt_keys_of_windows_are_counted_with_what_is_meant(tmp_path: Path, clip: Path) -> None:
    window = {"start_frame": 0, "end_frame": 15, "caption": "a square", "temporal_intervall": 2}
    last = {**window, "end_frame": 9, "mood": 1, "caption_long": "x"}
    records = [
        {"vision_path": clip.name, "t2w_windows": [window, {**window, "start_frame": 4, "captoin_json": {"a": 1}}]},
        {"vision_path": clip.name, "heigth": 3, "scene": "x", "t2w_windows": [last]},
    ]
    facts = probe(tmp_path, clip, *records)
    found = [(one.saw, one.record, one.pointer, one.fix.text) for one in facts.findings
             if one.rule == "clips/unknown-key" and one.fix]  # fmt: skip
    assert found == [
        ("'heigth' in 1 records", 1, None, "write height"),
        ("'caption_long' in 1 windows", 1, "/t2w_windows/0", "nothing reads it: leave it out, or as it is"),
        ("'captoin_json' in 1 windows", 0, "/t2w_windows/1", "write caption_json"),
        ("'mood' in 1 windows", 1, "/t2w_windows/0", "nothing reads it: leave it out, or as it is"),
        ("'temporal_intervall' in 3 windows", 0, "/t2w_windows/0", "write temporal_interval"),
    ]
    assert facts.num_usable == 2


def test_a_misspelt_key_explains_the_error_beside_it(tmp_path: Path, clip: Path) -> None:
    window = {"start_frame": 0, "end_frames": 15, "captoin": "a square"}
    facts = probe(tmp_path, clip, {"vision_path": clip.name, "t2w_windows": [window]})
    assert sorted(set(rules(facts))) == ["clips/unknown-key", "clips/window"]
    fixes = [one.fix.text for one in facts.findings if one.fix]
    assert fixes == ["write caption", "write end_frame"]


def test_keys_that_upstream_knows_or_that_are_there_beside_the_known_one_are_fine() -> None:
    fold, findings = ClipKeyFold(), Collector(where="d", file="d")
    fold.see(
        0,
        {**dict.fromkeys(RECORD, 1), "heights": 1, "t2w_windows": [dict.fromkeys([*WINDOW, "some_235b_short"], 1), 3]},
        findings,
    )
    fold.see(1, {"source": "a", "split": "b", "fps": 8, "id": 1, "t2w_windows": None}, findings)
    fold.finish(findings)
    assert findings.findings() == ()
    for number in range(3000):  # names that are data
        fold.see(number, {"t2w_windows": [{f"clip-{number}": 1}]}, findings)
    fold.finish(findings)
    assert len(fold.seen) <= 1000 and len(findings.findings()) == 21
