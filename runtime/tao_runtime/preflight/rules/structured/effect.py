"""Keys of the structured dialect that change nothing here, and why; each family adds its own."""

from __future__ import annotations

from typing import Final

_TOKENIZER: Final = "the video tokenizer is not compiled"
_ONE_PASS: Final = "nothing of a run depends on it"

TRAIN: Final = {
    "custom": "it is the user's own, and kept with the run",
    "model.compile.compile_dynamic": "blocks are always compiled for shapes that change",
    "scheduler.verbosity_interval": "metrics hold the rate of every logged step",
    "trainer.callbacks.compile_tokenizer.enabled": _TOKENIZER,
    "trainer.callbacks.compile_tokenizer.compile_after_iterations": _TOKENIZER,
    "trainer.callbacks.compile_tokenizer.warmup_resolutions": _TOKENIZER,
}
ANSWER: Final = {
    "custom": "it is the user's own, and kept with the run",
    "job.experiment": "a base is for training; the model's own directory says what it is",
    "job.wandb_mode": "answers go to the output folder only",
}
REQUEST: Final = {
    **ANSWER,
    "inference.offload_prompt_upsampler": "it is always gone before a clip is made",
    "inference.offload_guardrail_models": "the library always moves them to the device for a check, and back",
}
FOLDER: Final = {
    "dataset.batch_size": "clips are judged one by one",
    "dataset.num_workers": "clips are read as they are judged",
    "dataset.seed": "evaluate.seed says it",
}
