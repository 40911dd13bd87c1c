"""What the engine relies on in every family of clips: empty batches, the loss of guessing, batches that add up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from video_runs import make_material, write_video_spec

from tao_runtime.data.snapshot import network_folder
from tao_runtime.engine.clip_launch import clip_ledgers
from tao_runtime.engine.families import wet_family
from tao_runtime.engine.run_dir import LEDGER
from tao_runtime.engine.source import BadSample, Source
from tao_runtime.engine.weights import load_base
from tao_runtime.preflight.prepare import prepare

FAMILIES = ["cosmos_predict2", "cosmos_predict1", "cosmos3_vision"]
ALONE: Any = SimpleNamespace(is_main=True, size=1, barrier=lambda: None, device=torch.device("cpu"))


@pytest.fixture(scope="module", params=FAMILIES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Source]:
    """The wet half of a family, its tiny network with base weights, and its data set."""
    folder = make_material(request.param, tmp_path_factory.mktemp(request.param))
    prepared = prepare(write_video_spec(folder, folder), action="train")
    plan, family = prepared.plan, wet_family(request.param)
    clip_ledgers(plan, prepared.facts)["train"].save(folder / LEDGER.format(label="train"))
    base = network_folder(Path(plan.model.path))
    model = family.build(base, packed=True)
    fresh = family.fresh_parameters(model)
    load_base(model, base, added=frozenset(fresh))
    for name, value in fresh.items():
        model.get_parameter(name).data.copy_(value)
    return family, model, family.open_source(plan, folder, "train", ALONE)


def test_an_empty_batch_trains_on_nothing(opened: tuple[Any, Any, Source]) -> None:
    family, model, source = opened
    batch = source.collate([])
    loss = family.loss(model, batch)
    loss.backward()
    assert float(loss.detach()) == family.weight(batch) == family.chance_loss(model, batch) == 0
    assert family.disturb(batch) is None
    gradients = [value.grad for value in model.parameters() if value.grad is not None]
    assert gradients and not any(bool(gradient.any()) for gradient in gradients)
    model.zero_grad()


def test_batches_add_up(opened: tuple[Any, Any, Source]) -> None:
    family, model, source = opened
    items = [source.load(position, 3) for position in range(3)]
    assert not any(isinstance(item, BadSample) for item in items)
    together = source.collate(items)
    assert family.weight(together) == 3
    assert family.num_tokens(together) == int(source.ledger.length[:3].sum())
    with torch.no_grad():
        apart = sum(float(family.loss(model, source.collate([item]))) for item in items)
        assert float(family.loss(model, together)) == pytest.approx(apart, rel=1e-5)
        assert float(family.loss(model, family.disturb(together))) != pytest.approx(apart, rel=1e-3)
    assert family.chance_loss(model, together) / 3 == pytest.approx(float(family.loss(model, together)) / 3, rel=0.6)


def test_a_sample_is_the_same_in_the_same_step_only(opened: tuple[Any, Any, Source]) -> None:
    _, _, source = opened
    one, again, later = source.load(0, 1), source.load(0, 1), source.load(0, 2)
    assert torch.equal(one.draw.noise_CTHW, again.draw.noise_CTHW)
    assert one.draw.sigma == again.draw.sigma != later.draw.sigma
    assert torch.equal(one.latents_CTHW, later.latents_CTHW)  # the whole clip: there is one window


def test_names_are_upstreams(opened: tuple[Any, Any, Source]) -> None:
    family, model, _ = opened
    names = [family.original_name(name) for name, _ in model.named_parameters()]
    assert len(set(names)) == len(names)
    assert all(name.startswith("net.") for name in names)


def test_a_clip_that_does_not_decode_is_named(opened: tuple[Any, Any, Source], monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, source = opened
    ledger = replace(source.ledger, file=source.ledger.file.copy())
    ledger.file[2] = "nowhere.mp4"
    monkeypatch.setattr(source, "ledger", ledger)
    bad = source.load(2, 0)
    assert isinstance(bad, BadSample)
    assert bad.record == ledger.record[2]
    assert "nowhere.mp4" in bad.reason
