"""LLaMA-Factory's own full fine-tuning on the benchmark's clips: its entry, its data set format, its collator.

Before training it reads every file's header and writes all token ids to an Arrow cache; this is not in the figures.
Frames are decoded in its collator, in every epoch; this is.
Usage: python llamafactory_video_sft.py FOLDER BATCH EPOCHS; prints [useful tokens, CPU seconds] of each epoch as JSON.
"""

import json
import os
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).parents[2] / "tests/reference"))

import torch
from library_processor import install_torchvision


def install_torchaudio() -> None:
    """Stand in for torchaudio where its extension wants CUDA: LLaMA-Factory imports it, the clips have no sound."""
    try:
        import torchaudio  # noqa: F401
    except OSError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules["torchaudio"] = ModuleType("torchaudio")
        sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", loader=None)


KEEP = install_torchvision()
install_torchaudio()
os.environ["HF_DATASETS_CACHE"] = str(Path(sys.argv[1]) / "llamafactory/cache")  # read when datasets is imported

from llamafactory.train.tuner import run_exp
from transformers import TrainerCallback, TrainerState

torch.set_num_threads(1)


class EpochClock(TrainerCallback):
    """CPU seconds and non-padding tokens at the end of each epoch."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, int]] = []

    def on_train_begin(self, args: object, state: TrainerState, control: object, **options: object) -> None:
        model = options["model"]
        unlike = [
            name for name, each in model.named_parameters() if each.dtype != torch.float32 or not each.requires_grad
        ]
        if unlike or model.is_gradient_checkpointing:
            raise SystemExit(f"not full float32 training without checkpointing: {unlike[:3]}")
        self._mark(state)

    def on_epoch_end(self, args: object, state: TrainerState, control: object, **options: object) -> None:
        self._mark(state)

    def _mark(self, state: TrainerState) -> None:
        self.marks.append((time.process_time(), state.num_input_tokens_seen))


def describe_data(folder: Path) -> None:
    """Write what LLaMA-Factory wants to know of the annotations: ShareGPT turns, and a column that names videos."""
    (folder / "llamafactory").mkdir(exist_ok=True)
    columns = {"messages": "conversations", "videos": "video"}
    clips = {"file_name": str(folder / "data/annotations.json"), "formatting": "sharegpt", "columns": columns}
    (folder / "llamafactory/dataset_info.json").write_text(json.dumps({"clips": clips}))


def settings(folder: Path, batch: int, epochs: int) -> dict[str, object]:
    """Return arguments that ask for every frame at its own size, and every weight trained."""
    steps = len(json.loads((folder / "data/annotations.json").read_text())) // batch
    return {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(folder / "model"),
        "finetuning_type": "full",
        "freeze_vision_tower": False,
        "freeze_multi_modal_projector": False,
        "disable_gradient_checkpointing": True,
        "dataset": "clips",
        "dataset_dir": str(folder / "llamafactory"),
        "media_dir": str(folder / "data"),
        "template": "qwen3_vl_nothink",  # qwen3_vl puts an empty thought into every answer
        "cutoff_len": 4096,
        "video_fps": 16.0,  # above the clips' rate of 8: all frames are taken
        "video_maxlen": 16,
        "overwrite_cache": True,
        "output_dir": str(folder / "llamafactory/out"),
        "overwrite_output_dir": True,
        "save_strategy": "no",
        "logging_steps": steps,
        "report_to": "none",
        "disable_tqdm": True,
        "per_device_train_batch_size": batch,
        "num_train_epochs": epochs,
        "learning_rate": 7e-4,
        "use_cpu": True,
        "bf16": False,
        "dataloader_num_workers": 0,
        "include_num_input_tokens_seen": "non_padding",
    }


def main(folder: Path, batch: int, epochs: int) -> None:
    describe_data(folder)
    clock = EpochClock()
    run_exp(settings(folder, batch, epochs), callbacks=[clock])
    pairs = zip(clock.marks, clock.marks[1:], strict=False)
    print(json.dumps([(tokens - before, now - then) for (then, before), (now, tokens) in pairs]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
