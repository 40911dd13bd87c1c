"""Quantising on a real model: only the language model's layers change, both models are compared, and a loss is said."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from runs import events, tao, tensors

torch = pytest.importorskip("torch")
pytest.importorskip("compressed_tensors")

from tao_runtime.audit import audit
from tao_runtime.engine.build import build_whole
from tao_runtime.engine.dist import join_world
from tao_runtime.engine.families import chat_family
from tao_runtime.engine.launch import make_ledgers
from tao_runtime.engine.quantize import environment
from tao_runtime.engine.quantize.drive import drive
from tao_runtime.engine.quantize.folder import write_merged
from tao_runtime.engine.quantize.prove import answer_all
from tao_runtime.engine.quantize.run import Quantizer
from tao_runtime.engine.respond import Responder
from tao_runtime.engine.run_dir import LEDGER
from tao_runtime.errors import FindingsError, RunError
from tao_runtime.plan.model import GenerationPlan, ModelPlan, QuantizePlan
from tao_runtime.preflight.prepare import prepare

LAYERS = 2 * 7  # linear layers of the tiny model's two blocks
TOKENS = 12  # of an answer: enough for 8-bit floats to say something else


def write_spec(path: Path, material: Path, out: Path, **tables: Any) -> Path:
    """Write the spec of a quantisation without calibration; `tables` are merged into it."""
    spec: dict[str, dict[str, Any]] = {
        "model": {"model_path": str(material / "model")},
        "dataset": {"vision": {"nframes": 8}},
        "quantize": {"quantization_scheme": "FP8_DYNAMIC"},
        "proof": {"annotation_path": str(material / "heldout"), "max_tokens": TOKENS},
    }
    for name, values in tables.items():
        spec.setdefault(name, {}).update(values)
    path.write_text(yaml.safe_dump({"results_dir": str(out), **spec}))
    return path


def quantizer(spec: Path, run: Path, world: Any) -> Quantizer:
    """Prepare a run as the launcher does, in this process: it takes a tenth of the time."""
    prepared = prepare(spec, action="quantize")
    assert prepared.report.ok and isinstance(prepared.plan, QuantizePlan), prepared.report.render()
    run.mkdir()
    for label, ledger in make_ledgers(prepared.plan, prepared.facts).items():
        ledger.save(run / LEDGER.format(label=label))
    return Quantizer(prepared.plan, run, world)


def report(run: Path) -> dict[str, Any]:
    found = json.loads((run / "quantized.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def rounded(demo_material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose weights are 8-bit integers in groups of 16."""
    root = tmp_path_factory.mktemp("rounded")
    scheme = {"quantization_scheme": "W8A16", "group_size": 16, "skip_test_generation": False}
    spec = write_spec(root / "q.yaml", demo_material, root / "run", quantize=scheme)
    with pytest.MonkeyPatch.context() as patch, join_world() as world:
        patch.setenv(environment.PYTHON, sys.executable)
        quantizer(spec, root / "run", world).run()
    return root / "run"


def test_only_layers_of_the_language_model_are_quantised(rounded: Path, demo_material: Path) -> None:
    base, small = tensors(demo_material / "model"), tensors(rounded / "export/model")
    packed = {name.removesuffix("_packed") for name in small if name.endswith(".weight_packed")}
    assert len(packed) == LAYERS == report(rounded)["modules"]
    assert all(name.startswith("model.language_model.layers.") and "_proj" in name for name in packed)
    kept = {name for name in small if name in base}
    assert kept == base.keys() - packed and all(torch.equal(small[name], base[name]) for name in kept)


def test_the_folder_is_whole_and_says_what_it_is(rounded: Path, demo_material: Path) -> None:
    folder = rounded / "export/model"
    found = audit(folder, base=demo_material / "model", values=True, expect_unchanged=["visual"])
    assert found.ok and not found.findings, found.render()
    assert (folder / "quantized.json").read_text() == (rounded / "quantized.json").read_text()
    sizes = report(rounded)["sizes"]
    assert sizes["before"]["visual"] == sizes["after"]["visual"]
    assert sizes["after"]["language_model"] < 0.7 * sizes["before"]["language_model"]
    assert not (rounded / ".quantize").exists() and not list(rounded.glob("export/.*"))


def test_every_gate_is_on_record_and_what_proves_nothing_is_not_called_good(rounded: Path) -> None:
    said, run = report(rounded), json.loads((rounded / "run.json").read_text())
    gates = {gate["gate"]: gate["ok"] for gate in run["gates"]}
    passed = ("base-weights", "quantised", "audit", "reload", "media-changes-output", "accuracy")
    assert gates == dict.fromkeys(passed, True) and [e["gate"] for e in events(rounded, "gate")] == list(passed)
    assert said["verdict"] == "undecided" and "want a base that can lose" not in said["findings"][0]["saw"]
    assert said["findings"][0]["want"] == "a base that can lose", "random weights are right in none"
    assert said["reaction"]["quantised"] == pytest.approx(said["reaction"]["base"], rel=0.2)
    assert said["test_answer"]["question"] and run["metrics"]["bytes_after"] < run["metrics"]["bytes_before"]


def test_evaluation_reads_the_folder_and_answers_as_the_proof_did(rounded: Path, tmp_path: Path) -> None:
    plan = QuantizePlan.model_validate_json(
        prepare(rounded.parent / "q.yaml", action="quantize").plan.model_dump_json()
    )  # type: ignore[union-attr]
    with join_world() as world:
        folder = ModelPlan(path=str(rounded / "export/model"), max_length=4096, dtype="float32")
        model, load = build_whole(chat_family(plan.family), folder, world.device)
        source = Quantizer(plan, rounded, world)._source("eval")
        (rounded / ".quantize").rmdir()
        assert source is not None and load.matched > 77
        responder = Responder(model, source, source.tokenizer, world.device)  # type: ignore[arg-type]
        rows = answer_all("again", responder, source, GenerationPlan(max_new_tokens=TOKENS), count=4)
    saved = json.loads((rounded / "results.json").read_text())[:4]
    assert [row.response for row in rows] == [row["response"] for row in saved]


def test_a_loss_beyond_the_budget_ends_with_1_and_the_folder_says_so(
    rounded: Path, demo_material: Path, tmp_path: Path
) -> None:
    """The base's own answers as ground truth: the base is right in all, and 8-bit floats are not."""
    answers = {row["video_id"]: row["response"] for row in json.loads((rounded / "base_results.json").read_text())}
    records = json.loads((demo_material / "heldout/annotations.json").read_text())
    for record in records:
        record["conversations"][1]["value"] = answers[str(record["id"])] or "nothing"
    (tmp_path / "annotations.json").write_text(json.dumps(records))
    proof = {"annotation_path": str(tmp_path / "annotations.json"), "media_dir": str(demo_material / "heldout")}
    spec = write_spec(tmp_path / "q.yaml", demo_material, tmp_path / "run", proof=proof)
    done = tao("quantize", "--spec", str(spec), "--json", cwd=tmp_path, want=1)
    assert "error[quantize/accuracy] proof.accuracy_budget: " in done.stderr
    run, said = json.loads(done.stdout), report(tmp_path / "run/export/model")
    assert {gate["gate"]: gate["ok"] for gate in run["gates"]}["accuracy"] is False
    assert said["verdict"] == "not_good" and said["accuracy"]["lost"]["value"] > 0.02
    assert said["accuracy"]["base"]["value"] == 1.0


def test_an_adapter_is_merged_as_peft_merges_it(demo_material: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    base = AutoModelForImageTextToText.from_pretrained(demo_material / "model")
    config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    plain = AutoModelForImageTextToText.from_pretrained(demo_material / "model")
    want = PeftModel.from_pretrained(plain, tmp_path / "adapter").merge_and_unload().state_dict()
    place = {"model_path": str(tmp_path / "adapter"), "enable_lora": True}
    place["base_model_path"] = str(demo_material / "model")
    spec = write_spec(tmp_path / "q.yaml", demo_material, tmp_path / "run", model=place)
    plan = prepare(spec, action="quantize").plan
    assert isinstance(plan, QuantizePlan)
    family = chat_family(plan.family)
    model, _ = build_whole(family, plan.model, torch.device("cpu"))
    write_merged(model, demo_material / "model", tmp_path / "merged", layout=family.EXPORT, dtype=torch.float32)
    ours, before = tensors(tmp_path / "merged"), tensors(demo_material / "model")
    assert ours.keys() == before.keys()
    assert max(float((ours[name] - want[name]).abs().max()) for name in ours) < 1e-5
    assert {name.split(".")[-2] for name in ours if not torch.equal(ours[name], before[name])} == {
        "q_proj",
        "down_proj",
    }


def test_calibration_records_that_are_too_long_are_passed_over_or_named(demo_material: Path, tmp_path: Path) -> None:
    def ledgers(longest: int) -> Any:
        scheme = {"quantization_scheme": "FP8", "num_calibration_samples": 5, "max_sequence_length": longest}
        data = {"annotation_path": str(demo_material / "train")}
        spec = write_spec(tmp_path / "q.yaml", demo_material, tmp_path / "run", quantize=scheme, dataset=data)
        prepared = prepare(spec, action="quantize")
        assert isinstance(prepared.plan, QuantizePlan)
        return make_ledgers(prepared.plan, prepared.facts)

    found = ledgers(4096)["calibration"]
    assert found.record.tolist() == [0, 9, 18, 26, 35], "spread over the file"
    with pytest.raises(
        FindingsError, match=r"max_sequence_length: 0 records of at most 20 tokens, 36 are longer; want 5"
    ):
        ledgers(20)


def test_a_driver_that_fails_says_why(tmp_path: Path) -> None:
    request = {"model": str(tmp_path), "method": "round", "scheme": "W8A16", "group_size": 16, "ignore": [], "out": "x"}
    with pytest.raises(RunError, match=r"quantising failed: \w+Error: .*driver\.log"):
        drive(Path(sys.executable), request, tmp_path)


def test_the_environment_is_never_made_in_a_place_that_holds_other_things(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(FindingsError, match=r"mine holds other things; want a new directory"):
        environment.ensure(tmp_path / "mine", num_gpus=0)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_every_package_of_the_environment_is_pinned() -> None:
    pins = environment.pins()
    assert {"torch", "transformers", "llmcompressor"} <= pins.keys()
    assert pins["compressed-tensors"] == version("compressed-tensors"), "what is written there is read here"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "method"), [("W4A16", "gptq"), ("W8A8", "gptq"), ("FP8", "minmax"), ("FP8_DYNAMIC", "minmax")]
)
def test_calibrated_schemes(demo_material: Path, tmp_path: Path, scheme: str, method: str) -> None:
    """Through llm-compressor, in its own environment; what is measured by extremes also has fp8 keys and values."""
    try:
        environment.ensure(environment.place(None), num_gpus=0)
    except FindingsError as error:
        pytest.skip(f"the environment cannot be made: {error}")
    quantize = {"quantization_scheme": scheme, "num_calibration_samples": 4}
    quantize |= {"group_size": 16} if scheme == "W4A16" else {}
    quantize["kv_precision"] = "fp8" if method == "minmax" else "bf16"
    data = {"annotation_path": str(demo_material / "train")}
    spec = write_spec(tmp_path / "q.yaml", demo_material, tmp_path / "run", quantize=quantize, dataset=data)
    tao("quantize", "--spec", str(spec), cwd=tmp_path)
    said, small = report(tmp_path / "run"), tensors(tmp_path / "run/export/model")
    assert (said["scheme"]["name"], said["scheme"]["method"], said["modules"]) == (scheme, method, LAYERS)
    assert said["calibration"]["samples"] == said["calibration"]["with_media"] == 4
    assert any(name.endswith("k_scale") for name in small) == (method == "minmax")
