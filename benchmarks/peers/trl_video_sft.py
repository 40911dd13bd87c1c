"""TRL's SFTTrainer on the benchmark's clips, with the collator that it needs for video: the library's processor.

Usage: python trl_video_sft.py FOLDER BATCH EPOCHS; prints [useful tokens, CPU seconds] of each epoch as JSON.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests/reference"))
for prefix in {sys.prefix, *(str(Path(entry).parents[2]) for entry in sys.path if entry.endswith("site-packages"))}:
    if (Path(prefix) / "reference").is_dir():
        sys.path.insert(0, str(Path(prefix) / "reference"))

import torch
from library_processor import install_torchvision, read_clip

KEEP = install_torchvision()

from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
from transformers.video_utils import VideoMetadata
from trl import SFTConfig, SFTTrainer

torch.set_num_threads(1)


class Collator:
    """Decode, process, pad; labels are the answer's tokens."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "data"
        self.processor = AutoProcessor.from_pretrained(folder / "model")
        self.tokens = 0

    def __call__(self, rows: list[dict[str, str]]) -> dict[str, torch.Tensor]:
        clips = [read_clip(str(self.root / row["video"])) for row in rows]
        metadata = [
            VideoMetadata(total_num_frames=len(frames), fps=rate, frames_indices=list(range(len(frames))))
            for frames, rate in clips
        ]
        messages = [
            [
                {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "Which way?"}]},
                {"role": "assistant", "content": [{"type": "text", "text": row["answer"]}]},
            ]
            for row in rows
        ]
        texts = [self.processor.apply_chat_template(each, tokenize=False) for each in messages]
        size = {"shortest_edge": 1024, "longest_edge": 128 * 128 * 16}
        batch = dict(
            self.processor(
                text=texts,
                videos=[frames for frames, _ in clips],
                video_metadata=metadata,
                do_sample_frames=False,
                padding=True,
                return_tensors="pt",
                size=size,
            )
        )
        batch.pop("video_metadata", None)
        self.tokens += int(batch["attention_mask"].sum())
        batch["labels"] = self._labels(batch["input_ids"], rows)
        return batch

    def _labels(self, ids: torch.Tensor, rows: list[dict[str, str]]) -> torch.Tensor:
        """Only the answer and its end token count."""
        tokenizer = self.processor.tokenizer
        labels = torch.full_like(ids, -100)
        end = tokenizer.convert_tokens_to_ids("<|im_end|>")
        for number, row in enumerate(rows):
            length = len(tokenizer(row["answer"])["input_ids"]) + 1
            last = int((ids[number] == end).nonzero()[-1])
            labels[number, last - length + 1 : last + 1] = ids[number, last - length + 1 : last + 1]
        return labels


class EpochClock(TrainerCallback):
    """CPU seconds and tokens at the end of each epoch."""

    def __init__(self, collator: Collator) -> None:
        self.collator = collator
        self.marks: list[tuple[float, int]] = []

    def on_train_begin(self, *args: object, **options: object) -> None:
        self.marks.append((time.process_time(), self.collator.tokens))

    def on_epoch_end(self, *args: object, **options: object) -> None:
        self.marks.append((time.process_time(), self.collator.tokens))


def main(folder: Path, batch: int, epochs: int) -> None:
    records = json.loads((folder / "data/annotations.json").read_text())
    rows = [{"video": each["video"], "answer": each["conversations"][1]["value"]} for each in records]
    collator = Collator(folder)
    clock = EpochClock(collator)
    settings = SFTConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=batch,
        num_train_epochs=epochs,
        learning_rate=7e-4,
        report_to=[],
        logging_steps=len(rows) // batch,
        use_cpu=True,
        bf16=False,
        max_length=None,
        save_strategy="no",
        gradient_checkpointing=False,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=AutoModelForImageTextToText.from_pretrained(folder / "model", dtype=torch.float32),
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=collator.processor,
        data_collator=collator,
        callbacks=[clock],
    )
    trainer.train()
    pairs = zip(clock.marks, clock.marks[1:], strict=False)
    print(json.dumps([(tokens - before, now - then) for (then, before), (now, tokens) in pairs]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
