"""Every rule fires on its bad input, with these words, and a good input has no finding."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from factory import (
    make_clip,
    make_dataset,
    make_image,
    make_record,
    make_snapshot,
    make_uneven_clip,
    write_annotations,
)
from tao_runtime.data.launch import check_launch
from tao_runtime.errors import FindingsError
from tao_runtime.preflight.prepare import Prepared, decode_media, prepare
from tao_runtime.preflight.report import Report, from_findings
from tao_runtime.preflight.rules import RULES


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class World:
    """A good training project in a directory, for a test to break."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.train = make_dataset(root / "train", 32, num_clips=4)
        self.val = make_dataset(root / "val", 4, num_clips=1, seed=90)
        self.model = make_snapshot(root / "model")
        self.action = "train"
        self.world_size: int | None = None
        self.offline = False
        self.decode = 0.0  # share of the media
        self.between: Callable[[], object] = lambda: None  # after the headers were read, before anything is decoded
        self.environment: dict[str, str] = {}
        self.spec: dict[str, Any] = {
            "results_dir": str(root / "out"),
            "custom": {
                "train_dataset": {"annotation_path": str(self.train)},
                "val_dataset": {"annotation_path": str(self.val)},
            },
            "policy": {"model_name_or_path": str(self.model)},
            "train": {"train_batch_per_replica": 8, "train_policy": {"mini_batch": 4}},
        }

    def evaluate(self, **tables: Any) -> None:
        self.action = "evaluate"
        self.spec = {"results_dir": str(self.root / "out"), "dataset": {"annotation_path": str(self.val)},
                     "model": {"model_name": str(self.model)}, **tables}  # fmt: skip

    def quantize(self, **keys: Any) -> None:
        self.action = "quantize"
        self.spec = {"results_dir": str(self.root / "out"), "model": {"model_path": str(self.model)},
                     "dataset": {"annotation_path": str(self.train)}, "proof": {"annotation_path": str(self.val)},
                     "quantize": {"num_calibration_samples": 32}}  # fmt: skip
        self.set(**keys)

    def configure(self, **keys: Any) -> None:
        """Change the model's configuration."""
        config = json.loads((self.model / "config.json").read_text())
        (self.model / "config.json").write_text(json.dumps({**config, **keys}))

    def infer(self, media: Path, **keys: Any) -> None:
        self.action = "inference"
        self.spec = {"results_dir": str(self.root / "out"), "model_path": str(self.model), "media": str(media), **keys}

    def set(self, **keys: Any) -> None:
        for dotted, value in keys.items():
            table, *path = self.spec, *dotted.split("__")
            for name in path[:-1]:
                table = table.setdefault(name, {})
            table[path[-1]] = value

    def records(self, *records: object, **fields: object) -> None:
        """Replace the first records of the training set; `fields` changes record 0."""
        old = json.loads((self.train / "annotations.json").read_text())
        new = list(records) or [make_record(0, **fields)]
        write_annotations(self.train, [*new, *old[len(new) :]])

    def turns(self, *turns: object) -> None:
        self.records(conversations=list(turns))

    def report(self) -> Report:
        path = self.root / "spec.yaml"
        path.write_text(yaml.safe_dump(self.spec))
        try:
            prepared = prepare(path, action=self.action, nproc=self.world_size, offline=self.offline)
            self.between()
            with pytest.MonkeyPatch.context() as patch:
                for name, value in self.environment.items():
                    patch.setenv(name, value)
                return decode_media(prepared, self.decode).report if self.decode else prepared.report
        except FindingsError as error:
            return from_findings(error.findings, action=self.action, family="")


HUMAN, GPT = {"from": "human", "value": "<video>\nWhich way?"}, {"from": "gpt", "value": "left"}
Break = Callable[[World], object]


def write(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)


def cut_clip(world: World) -> None:
    """Keep the index of a clip, which its writer put in front, and lose the second half of its frames."""
    path = world.train / "clip_0.mp4"
    make_clip(path, num_frames=64, faststart=True)
    path.write_bytes(path.read_bytes()[:-200])


def escape(world: World) -> None:
    make_clip(world.root / "elsewhere" / "x.mp4")
    (world.train / "link.mp4").symlink_to(world.root / "elsewhere" / "x.mp4")
    world.records(video="link.mp4")


def scramble(world: World) -> None:
    """Overwrite the frames of a clip whose index stays whole."""
    path = make_clip(world.train / "clip_0.mp4", num_frames=64, faststart=True)
    raw = path.read_bytes()
    start = raw.index(b"mdat") + 4
    path.write_bytes(raw[:start] + b"\xff" * (len(raw) - start))
    world.decode = 1.0


def promise_frames(world: World) -> None:
    """Change the number of frames in the headers of a file that holds 16."""
    path = make_clip(world.train / "a.avi")
    path.write_bytes(path.read_bytes().replace((16).to_bytes(4, "little"), (99).to_bytes(4, "little")))
    world.records(video="a.avi")
    world.decode = 1.0


def hang(world: World) -> None:
    """Put a pipe that nobody writes to in the place of a clip whose header was read."""
    path = world.train / "clip_0.mp4"
    world.set(train__load_timeout_s=1)
    world.decode, world.between = 1.0, lambda: (path.unlink(), os.mkfifo(path))


def crash(world: World) -> None:
    """Let every decoding process end when it opens a file, as a fault in a C library would end it."""
    lines = (
        "import os, sys",
        "if any('decode_worker' in each for each in sys.orig_argv):",
        "    import av",
        "    av.open =",
    )
    (world.root / "sitecustomize.py").write_text("\n".join(lines) + " lambda *a, **o: os.abort()\n")
    world.decode, world.environment = 1.0, {"PYTHONPATH": str(world.root)}


def uneven(world: World) -> None:
    make_uneven_clip(world.train / "a.mp4", [*range(0, 100, 5), *range(100, 1000, 100)])
    world.records(video="a.mp4", video_fps=2.9)
    world.decode = 1.0


def hide_output(world: World) -> None:
    write(world.root / "file", b"x")
    world.set(results_dir=str(world.root / "file" / "out"))


def cut_weights(world: World) -> None:
    path = world.model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def adapter(world: World) -> None:
    write(world.model / "adapter_config.json", b"{}")
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    write(world.model / "adapter_model.safetensors", struct.pack("<Q", len(header)) + header + b"0000")


def big_model(world: World) -> None:
    make_snapshot(world.model, parameters=10**12, sparse=True)


def big_checkpoint(world: World) -> None:
    make_snapshot(world.model, parameters=10**12, sparse=True)


def evaluate_run(world: World, *, train: str = "clip_3.mp4", val: str = "clip_0.mp4", copied: bool = False) -> None:
    """Train on a clip, evaluate the export on another, or on a copy of it."""
    make_clip(world.train / train, seed=3)
    world.records(video=train)
    plan = prepare_training(world).plan
    write(world.root / "run" / "plan.json", plan.model_dump_json(by_alias=True).encode())
    make_clip(world.val / val, seed=3 if copied else 50)
    write_annotations(world.val, [make_record(0, val)])
    world.evaluate(model={"model_name": str(make_snapshot(world.root / "run" / "export" / "model"))})


def prepare_training(world: World) -> Prepared:
    path = world.root / "train.yaml"
    path.write_text(yaml.safe_dump(world.spec))
    return prepare(path)


def evaluate_changed(world: World) -> None:
    evaluate_run(world)
    world.records(id="another")


# rule -> (how to break the world, words that the finding must have)
BAD: dict[str, tuple[Break, str]] = {
    "dataset/annotation-unreadable": (lambda w: write(w.train / "annotations.json", b'[{"id": 1},\n{"id"'), ".json 2:"),
    "dataset/no-records": (lambda w: write_annotations(w.train, []), "0 records"),
    "dataset/media-root-missing": (lambda w: w.set(custom__train_dataset__media_path="nowhere"), "not a directory"),
    "dataset/record-not-object": (lambda w: w.records([1, 2]), "[1, 2]; want an object"),
    "dataset/conversations-missing": (lambda w: w.records(conversations=[]), "conversations: []; want a list"),
    "dataset/turn-malformed": (lambda w: w.turns({"from": "robot", "value": "x"}), "'robot'; want human, gpt"),
    "dataset/text-not-unicode": (lambda w: w.turns(HUMAN, {"from": "gpt", "value": "\ud800"}), "lone surrogates"),
    "dataset/roles-alternate": (lambda w: w.turns(HUMAN, GPT, GPT), "gpt after gpt"),
    "dataset/answer-missing": (lambda w: w.turns(HUMAN), "no gpt turn"),
    "dataset/answer-empty": (lambda w: w.turns(HUMAN, {"from": "gpt", "value": " \n"}), "want an answer"),
    "dataset/last-turn-unanswered": (lambda w: w.turns(HUMAN, GPT, {"from": "human", "value": "?"}), "turns is human"),
    "dataset/tag-in-answer": (
        lambda w: w.turns(HUMAN, {"from": "gpt", "value": "<image>"}), "only. Fix: write &lt;video&gt; or"),
    "dataset/special-token": (
        lambda w: w.turns(HUMAN, {"from": "gpt", "value": "left<|im_end|>"}),
        "<|im_end|>; want plain text"),
    "dataset/video-fps": (lambda w: w.records(video_fps=None), "no 'video_fps'; want a number of frames per second"),
    "dataset/video-fps-differs": (lambda w: w.records(video_fps=30), "video_fps: 30, and 8 in the file"),
    "dataset/key-misspelt": (lambda w: w.records(video=None, vidoe="clip_0.mp4"), "'vidoe' in 1 records"),
    "dataset/id-duplicate": (lambda w: w.records(id="5"), "the same id as record 0"),
    "dataset/answers-contradict": (
        lambda w: w.records(*(make_record(i, answer=answer) for i, answer in enumerate(("left", "Right.", "left")))),
        "another answer than record 0 to the same question about the same media; want one answer"),
    "dataset/media-absolute": (
        lambda w: w.records(video=str(w.train / "clip_0.mp4")), "1 records name media by absolute paths, such as"),
    "dataset/media-key": (
        lambda w: w.records(video=None, image="clip_0.mp4"), "image: 'clip_0.mp4'; want it under video. Fix: rename"),
    "dataset/media-mixed": (lambda w: w.records(image="a.png"), "video and image; want one of"),
    "dataset/media-not-path": (lambda w: w.records(video=7), "7; want a path relative to the media root"),
    "dataset/media-outside": (escape, "'link.mp4' leads out of"),
    "dataset/media-missing": (lambda w: w.records(video="gone.mp4"), "'gone.mp4' is not a file in"),
    "dataset/tags-exceed-media": (lambda w: w.turns({**HUMAN, "value": "<video><video>?"}, GPT), "2 media tags for 1"),
    "dataset/tags-missing": (lambda w: w.turns({**HUMAN, "value": "?"}, GPT), "0 media tags for 1 media"),
    "dataset/train-val-overlap": (
        lambda w: w.set(custom__val_dataset__annotation_path=str(w.train)), "the same annotation file"),
    "dataset/train-val-same-content": (
        lambda w: write(w.val / "clip_0.mp4", (w.train / "clip_3.mp4").read_bytes()), "name copies of training media"),
    "dataset/train-val-same-source": (
        lambda w: (make_clip(w.train / "vJk3x9Q_0_9.mp4"), w.records(video="vJk3x9Q_0_9.mp4"),
                   make_clip(w.val / "vJk3x9Q_9_18.mp4", seed=50),
                   write_annotations(w.val, [make_record(0, "vJk3x9Q_9_18.mp4")])), "are cut from 1 videos that"),
    "dataset/train-eval-same-media": (lambda w: evaluate_run(w, copied=True), "1 of 1 records (0) name media that the"),
    "dataset/train-eval-same-source": (
        lambda w: evaluate_run(w, train="vJk3x9Q_0_9.mp4", val="vJk3x9Q_8_18.mp4"), "1 of them in overlapping parts"),
    "dataset/train-eval-unknown": (evaluate_changed, "has changed since: nothing was compared with what"),
    "media/unreadable": (lambda w: write(w.train / "clip_0.mp4", b"not a video at all"), "not readable as a video"),
    "media/empty": (lambda w: write(w.train / "clip_0.mp4", b""), "0 bytes; want a video file"),
    "media/truncated": (cut_clip, "and frames up to byte"),
    "media/no-frames": (
        lambda w: (make_clip(w.train / "a.avi", num_frames=0), w.records(video="a.avi")), "0 frames of 64x64"),
    "media/fewer-frames": (
        lambda w: w.set(custom__vision={"nframes": 17}), "4 of 4 videos have fewer than nframes = 17 frames"),
    "media/aspect-ratio": (
        lambda w: (make_image(w.train / "a.png", width=2010, height=10),
                   w.records(video=None, video_fps=None, image="a.png")), "2010x10; want sides within 200:1"),
    "media/undecodable": (scramble, "cannot be decoded"),
    "media/frames-missing": (promise_frames, "does not decode; the header promised at least 99"),
    "media/decode-timeout": (hang, "not decoded after 1 s; want a file that decodes in time"),
    "media/decoder-crash": (crash, "the decoder's process ended (signal 6)"),
    "media/variable-frame-rate": (uneven, "frames per second put it; want a constant frame rate"),
    "host/output-dir": (hide_output, "want a directory that can be made and written"),
    "host/memory": (big_model, "of weights, gradients and optimizer state"),
    "host/disk": (big_checkpoint, "checkpoints of"),
    "launch/platform": (lambda w: check_launch("slrum", {}, {}), "'slrum'; want one of local, docker"),
    "launch/path": (lambda w: check_launch(None, {"a": str(w.root / "no")}, {}), "does not exist"),
    "launch/label": (lambda w: check_launch(None, {}, {"b": ["x"]}), "label 'b'; want a label of --path"),
    "launch/required-field": (
        lambda w: check_launch(None, {"a": str(w.train / "annotations.json")}, {"a": ["foo"]}), "no 'foo'"),
    "cosmos_reason/batch-divides": (
        lambda w: w.set(train__train_batch_per_replica=7), "want a multiple of mini_batch = 4. Fix: set it to 8"),
    "cosmos_reason/batch-exceeds-samples": (
        lambda w: (w.set(train__train_batch_per_replica=32, policy__parallelism__dp_shard_size=4)),
        "32, but 32 records / 4 data-parallel processes = 8 samples each; want at most 8. Fix: set it to 8"),
    "cosmos_reason/few-steps": (lambda w: w.set(train__epoch=1), "optimizer steps: 4 (an epoch: 4, epochs: 1)"),
    "cosmos_reason/dropped-records": (
        lambda w: w.set(train__train_batch_per_replica=24, train__train_policy__mini_batch=8),
        "8 of 32 records do not fill a global batch of 24 and are left out, others each epoch; want none left out"),
    "cosmos_reason/warmup": (lambda w: w.set(train__optm_warmup_steps=40), "40 of 40 steps are warm-up"),
    "cosmos_reason/save-interval": (
        lambda w: w.set(train__ckpt={"enable_checkpoint": True, "save_freq": 41}),
        "every 41 steps, and the run has 40: nothing is kept before its end"),
    "cosmos_reason/mesh-product": (
        lambda w: (w.set(policy__parallelism__dp_shard_size=4), setattr(w, "world_size", 6)),
        "dp_shard_size 4 = 4, and 6 processes; want the product to be 6"),
    "cosmos_reason/mesh-axis": (lambda w: w.set(policy__parallelism__tp_size=2), "2; want 1: this axis"),
    "cosmos_reason/validation-source": (
        lambda w: (w.spec["custom"].pop("val_dataset"), w.set(train__train_policy__dataset={"test_size": 0})),
        "true, without custom.val_dataset and with test_size 0"),
    "cosmos_reason/model-max-length": (lambda w: w.set(policy__model_max_length=30), "tokens, the longest of 32 such"),
    "cosmos_reason/evaluate-max-length": (
        lambda w: w.evaluate(generation={"max_tokens": 1000}, model={"model_name": str(w.model), "max_length": 1040}),
        "want at most 40 (1,000 are kept for the answer). Fix: set it to 2048, or shorten the text"),
    "cosmos_reason/frame-sampling": (
        lambda w: w.set(custom__vision={"fps": 2, "nframes": 8}), "fps = 2 and nframes = 8; want exactly one of"),
    "cosmos_reason/inference-media": (
        lambda w: w.infer(w.train / "clip_0.mp4", type="image"), "holds video files only; want video"),
    "cosmos_reason/model-missing": (lambda w: w.set(policy__model_name_or_path="./gone"), "is not a directory"),
    "cosmos_reason/model-token": (
        lambda w: w.set(policy__model_name_or_path="nvidia/Cosmos-Reason2-8B"), "is gated, and HF_TOKEN is not set"),
    "cosmos_reason/model-incomplete": (cut_weights, "missing: model.safetensors (truncated)"),
    "cosmos_reason/adapter-place": (adapter, "is an adapter; want a whole model"),
    "cosmos_reason/lora-vision-conflict": (
        lambda w: w.set(policy__lora={"target_modules": ["attn.qkv"], "modules_to_save": ["visual"]}), "holds visual"),
    "cosmos_reason/lora-power-of-two": (lambda w: w.set(policy__lora={"r": 12}), "12; want a power of two"),
    "cosmos_reason/lora-init": (lambda w: w.set(policy__lora={"init_lora_weights": "pissa"}), "pissa; want true"),
    "cosmos_reason/patterns-exclusive": (lambda w: w.set(policy__freeze_pattern=["("]), "want a regular expression"),
    "cosmos_reason/fp8": (lambda w: w.set(train__fp8={"enable_fp8": True}), "true; want false: not supported yet"),
    "cosmos_reason/quantize-gpu": (
        lambda w: w.quantize(quantize__quantization_scheme="NVFP4"), "NVFP4, and no GPU here; want a GPU"),
    "cosmos_reason/quantize-calibration": (
        lambda w: w.quantize(dataset__annotation_path=""), "no records, and W4A16 needs calibration; want an"),
    "cosmos_reason/quantize-few-samples": (
        lambda w: w.quantize(quantize__num_calibration_samples=8), "8; want 32 or more. Fix: set it to 32"),
    "cosmos_reason/quantize-divides": (
        lambda w: (w.quantize(), w.configure(text_config={"hidden_size": 96, "intermediate_size": 256})),
        "128: q_proj takes 96, gate_proj takes 96; want a divisor of all of them. Fix: set it to 32"),
    "cosmos_reason/quantize-model": (
        lambda w: (w.quantize(), w.configure(quantization_config={"quant_method": "x"})), "is quantised already; want"),
    "cosmos_reason/quantize-unproven": (
        lambda w: w.quantize(proof__annotation_path=""), "no held-out records: accuracy will not be measured"),
    "cosmos_reason/quantize-ignores": (
        lambda w: w.quantize(quantize__smoothing_strength=0.5), "0.5 has no effect with W4A16 here"),
    "cosmos_reason/no-effect": (lambda w: w.set(redis="9"), "'9' has no effect: there is no controller"),
    "cosmos_reason/not-supported": (lambda w: w.evaluate(vision={"video_start": 1.0}), "a part of a clip"),
}  # fmt: skip


HANGS = {"media/header-timeout", "media/header-crash"}  # in tests/data/test_media.py
LAYOUTS = HANGS | {
    name
    for name in RULES
    if name.startswith(("clips/", "access/"))
    or "parquet" in name
    or name in ("dataset/meta-entry", "launch/receipt-stale")
}


def test_every_rule_has_a_bad_input() -> None:
    # Those of the structured families are beside theirs, and the layouts' own in tests/data/test_clip_sets.py.
    own = {name for name, rule in RULES.items() if rule.families and "cosmos_reason" not in rule.families}
    assert set(BAD) == set(RULES) - own - LAYOUTS


@pytest.mark.parametrize("name", BAD)
def test_rule_fires_on_its_bad_input(tmp_path: Path, name: str) -> None:
    breaker, words = BAD[name]
    world = World(tmp_path)
    result = breaker(world)
    findings = result if name.startswith("launch/") else world.report().findings
    assert isinstance(findings, tuple)
    mine = [finding for finding in findings if finding.rule == name]
    assert mine, [finding.render() for finding in findings]
    assert words in mine[0].render()
    assert mine[0].severity == RULES[name].severity or name == "dataset/train-val-overlap"


def test_good_input_has_no_finding(tmp_path: Path) -> None:
    world = World(tmp_path)
    report = world.report()
    assert (report.ok, report.findings) == (True, ())
    assert report.counts.model_dump() == {
        "records": 36,
        "usable": 36,
        "media": 5,
        "decoded": 0,
        "errors": 0,
        "warnings": 0,
        "notes": 0,
    }


@pytest.mark.parametrize("scheme", ["W4A16", "W8A8", "FP8"])
def test_good_quantisation_has_no_finding(tmp_path: Path, scheme: str) -> None:
    world = World(tmp_path)
    world.quantize(quantize__quantization_scheme=scheme)
    assert world.report().findings == ()


@pytest.mark.parametrize(
    ("keys", "text_config", "words"),
    [
        ({"quantize__quantization_scheme": "FP8_DYNAMIC", "quantize__kv_precision": "fp8",
          "dataset__annotation_path": ""}, {}, "no records, and fp8 keys and values needs calibration"),
        ({"quantize__num_calibration_samples": 33}, {}, "33 of 32 usable records; want at most 32. Fix: set it to 32"),
        ({}, {"hidden_size": 100, "intermediate_size": 96}, "which no usual group divides; want another scheme"),
        ({"quantize__group_size": 12}, {"hidden_size": 96}, "12; want a multiple of 8"),
        ({"quantize__quantization_scheme": "NVFP4"}, {"hidden_size": 100}, "q_proj takes 100, gate_proj takes 100, in"),
        ({}, {"hidden_size": 128, "num_experts": 8}, "has 8 experts; want a dense model"),
        ({"proof__annotation_path": "{train}"}, {}, "the records that scales are measured on; want records that"),
        ({"dataset__dataset_id": "org/set"}, {}, "'org/set' asks for what does not exist yet: a data set of the hub"),
        ({"dataset__dataset_split": "test"}, {}, "'test' has no effect: dataset.annotation_path says which records"),
    ],
)  # fmt: skip
def test_what_a_quantisation_is_told(
    tmp_path: Path, keys: dict[str, Any], text_config: dict[str, int], words: str
) -> None:
    world = World(tmp_path)
    filled = {key: str(world.train) if value == "{train}" else value for key, value in keys.items()}
    world.quantize(**filled)
    world.configure(text_config=text_config)
    assert words in "\n".join(finding.render() for finding in world.report().findings)


def test_good_input_decodes(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.decode = 1.0
    report = world.report()
    assert (report.findings, report.counts.decoded) == ((), 5)
    assert report.render() == "ok: cosmos_reason train, 36 records, 5 media (5 decoded); 0 errors, 0 warnings, 0 notes"


def test_good_evaluation_has_no_finding(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.evaluate()
    assert world.report().findings == ()


@pytest.mark.parametrize("media", ["train", "train/clip_0.mp4", "questions.json"])
def test_good_inference_has_no_finding(tmp_path: Path, media: str) -> None:
    world = World(tmp_path)
    write_annotations(tmp_path, [make_record(0, "train/clip_0.mp4", conversations=[HUMAN])], name="questions.json")
    world.infer(tmp_path / media)
    assert world.report().findings == ()


@pytest.mark.parametrize("media", ["gone", "gone.mp4", "gone.json"])
def test_inference_on_nothing_is_an_error(tmp_path: Path, media: str) -> None:
    world = World(tmp_path)
    world.infer(tmp_path / media)
    (finding,) = world.report().findings
    assert (finding.rule, finding.where) == ("dataset/annotation-unreadable", "media")


def test_every_patch_of_a_spec_key_cures_its_finding(tmp_path: Path) -> None:
    keys = ("batch-divides", "batch-exceeds-samples", "mesh-axis", "model-max-length", "frame-sampling", "lora-init",
            "lora-power-of-two", "fp8", "validation-source")  # fmt: skip
    for name in keys:
        world = World(tmp_path / name)
        BAD[f"cosmos_reason/{name}"][0](world)
        (finding, *_) = [one for one in world.report().findings if one.rule == f"cosmos_reason/{name}"]
        assert finding.fix and finding.fix.patch
        world.set(**{key.replace(".", "__"): value for key, value in finding.fix.patch.items()})
        assert not [one for one in world.report().findings if one.rule == f"cosmos_reason/{name}"], name


def test_no_more_than_twenty_findings_of_a_rule(tmp_path: Path) -> None:
    world = World(tmp_path)
    write_annotations(world.train, [make_record(i, video_fps=None) for i in range(1254)])
    mine = [finding for finding in world.report().findings if finding.rule == "dataset/video-fps"]
    assert len(mine) == 21
    assert mine[-1].saw == "and 1,234 more"


def test_token_value_is_in_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    world = World(tmp_path)
    world.set(policy__model_name_or_path="nvidia/Cosmos-Reason2-8B")
    report = world.report()
    assert report.ok
    assert "verysecret" not in report.model_dump_json() + report.render()


def test_offline_asks_for_a_local_model(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.set(policy__model_name_or_path="org/name")
    world.offline = True
    (finding,) = world.report().findings
    assert "org/name is not on this machine, and the hub is not asked" in finding.render()


def test_snapshot_in_the_hub_cache_is_found(tmp_path: Path) -> None:
    world = World(tmp_path)
    folder = Path(os.environ["HF_HOME"]) / "hub" / "models--org--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    make_snapshot(folder / "snapshots" / "abc")
    world.set(policy__model_name_or_path="hf_model://org/name")
    assert world.report().findings == ()


def test_broken_spec_is_a_report(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.set(train__epoch="many", unknown=1)
    report = world.report()
    assert not report.ok
    assert report.counts.errors == 2
