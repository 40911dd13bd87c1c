"""The network, collation and loss against the library's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from factory import make_clip, make_image

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer
from transformers import AutoModelForImageTextToText

from tao_runtime.data.cosmos_reason import PROMPT_FORMAT
from tao_runtime.data.families import PromptOptions
from tao_runtime.data.snapshot import read_geometry
from tao_runtime.data.vision import SamplingPlan
from tao_runtime.engine.chat_batch import IGNORED, collate, rope_positions
from tao_runtime.engine.families.cosmos_reason import FAMILY as family  # noqa: N811 - read as what it is
from tao_runtime.engine.frames import FrameCache
from tao_runtime.engine.samples import Item, SampleMaker
from tao_runtime.engine.source import BadSample
from tao_runtime.engine.weights import load_base
from tao_runtime.plan.ledger import SampleRules

ASK = {"from": "human", "value": "<video>\nWhich way does the square move?"}


@pytest.fixture(scope="module")
def model(demo_material: Path) -> Any:
    model = family.build(demo_material / "model", packed=True)
    load_base(model, demo_material / "model")
    return model.eval()


@pytest.fixture(scope="module")
def library(demo_material: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(demo_material / "model", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def maker(demo_material: Path) -> SampleMaker:
    snapshot = demo_material / "model"
    rules = SampleRules(
        "cosmos_reason", SamplingPlan(num_frames=8), read_geometry(snapshot, {}), PromptOptions(PROMPT_FORMAT), 4096
    )
    return SampleMaker(rules, Tokenizer.from_file(str(snapshot / "tokenizer.json")), FrameCache(0))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Mapping[str, object]]]:
    root = tmp_path_factory.mktemp("media")
    make_clip(root / "long.mp4")
    make_clip(root / "short.mp4", num_frames=6)
    make_image(root / "still.png")
    turns = [ASK, {"from": "gpt", "value": "left"}]
    again = [*turns, {"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "right"}]
    still = [{"from": "human", "value": "<image>\nWhich way?"}, {"from": "gpt", "value": "up"}]
    text = [{"from": "human", "value": "Which way?"}, {"from": "gpt", "value": "down"}]
    return {
        "video": (root, {"video": "long.mp4", "conversations": turns}),
        "turns": (root, {"video": "short.mp4", "conversations": again}),
        "image": (root, {"image": "still.png", "conversations": still}),
        "text": (root, {"conversations": text}),
    }


def make(maker: SampleMaker, records: dict[str, tuple[Path, Mapping[str, object]]], *names: str) -> list[Item]:
    items = [maker.make(records[name][1], number, records[name][0]) for number, name in enumerate(names)]
    assert not any(isinstance(item, BadSample) for item in items), items
    return [item for item in items if isinstance(item, Item)]


def library_loss(library: Any, items: list[Item], geometry: Any) -> Any:
    """The library on padded rows. Its loss is a mean over supervised tokens: times their number, a sum as ours."""
    longest = max(len(item.ids) for item in items)
    batch = family.collate_prompts(items, geometry)
    ids = batch["input_ids"]
    labels = torch.full_like(ids, IGNORED)
    for row, item in enumerate(items):
        labels[row, longest - len(item.ids) :] = torch.where(item.supervised, item.ids, IGNORED)
    kinds = torch.where(
        ids == library.config.video_token_id, 2, torch.where(ids == library.config.image_token_id, 1, 0)
    )
    count = int((labels[:, 1:] != IGNORED).sum())
    return library(**batch, labels=labels, mm_token_type_ids=kinds).loss * count


@pytest.mark.parametrize(
    "names",
    [("video",), ("video", "turns"), ("image",), ("text",), ("video", "image", "text", "turns")],
    ids="+".join,
)
def test_loss_and_gradient_are_the_library_s(model: Any, library: Any, maker: Any, records: Any, names: Any) -> None:
    items, geometry = make(maker, records, *names), maker.rules.geometry
    model.zero_grad()
    library.zero_grad()
    ours, theirs = family.loss(model, collate(items, geometry)), library_loss(library, items, geometry)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    ours.backward()
    theirs.backward()
    expected = dict(library.named_parameters())
    for name, parameter in model.named_parameters():
        wanted = expected[name].grad
        wanted = torch.zeros_like(parameter) if wanted is None else wanted
        assert parameter.grad is not None, name  # also where there is no medium: or other ranks would wait
        assert torch.allclose(parameter.grad, wanted, atol=1e-4), name


def test_a_batch_of_nothing_trains_nothing(model: Any, maker: Any) -> None:
    model.zero_grad()
    loss = family.loss(model, collate([], maker.rules.geometry))
    loss.backward()
    assert float(loss) == 0
    assert all(float(parameter.grad.abs().sum()) == 0 for parameter in model.parameters())


def test_samples_of_a_pack_do_not_see_each_other(model: Any, maker: Any, records: Any) -> None:
    alone = sum(
        float(family.loss(model, collate(make(maker, records, name), maker.rules.geometry)))
        for name in ("video", "turns", "text")
    )
    together = family.loss(model, collate(make(maker, records, "video", "turns", "text"), maker.rules.geometry))
    assert float(together) == pytest.approx(alone, rel=1e-6)


def test_every_answer_counts_and_nothing_else(maker: Any, records: Any) -> None:
    [item] = make(maker, records, "turns")
    supervised = item.ids[item.supervised].tolist()
    assert maker.tokenizer.decode(supervised, skip_special_tokens=False) == "left<|im_end|>right<|im_end|>"


def test_parts_of_the_model() -> None:
    parts = {
        "model.visual.blocks.0.attn.qkv.weight": "visual",
        "model.visual.merger.linear_fc1.weight": "projector",
        "model.visual.deepstack_merger_list.0.norm.weight": "projector",
        "model.language_model.layers.0.mlp.up_proj.weight": "language_model",
        "lm_head.weight": "lm_head",
    }
    assert {name: family.part_of(name) for name in parts} == parts


def test_positions_are_the_library_s(library: Any, maker: Any, records: Any) -> None:
    for name in records:
        [item] = make(maker, records, name)
        batch = family.collate_prompts([item], maker.rules.geometry)
        ids = batch["input_ids"]
        kinds = torch.where(item.visual, 2 if "video_grid_thw" in batch else 1, 0)[None]
        grids = {key: batch[key] for key in ("video_grid_thw", "image_grid_thw") if key in batch}
        theirs, _ = library.model.get_rope_index(ids, kinds, **grids)
        assert torch.equal(rope_positions(item.ids, item.visual, item.layouts, 2), theirs[:, 0]), name
