"""Prompts written anew, in more detail, by a text model: before any clip is made, and kept with the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tao_runtime.engine.build import DTYPES
from tao_runtime.engine.dist import World
from tao_runtime.engine.kept import POSITION, Kept
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.requests import Asked
from tao_runtime.errors import RunError
from tao_runtime.plan.model import VideoInferencePlan

FOLDER = "parts/prompts"
MAX_TOKENS = 512  # a text encoder of these models reads no more
ASK = (
    "Rewrite this description of a video so that it says in plain words what is seen: the scene, the objects, how they "
    "move, light and camera. Add nothing that contradicts it. Answer with the description alone.\n\n{prompt}"
)


def upsampled(plan: VideoInferencePlan, asked: Sequence[Asked], run_dir: Path, world: World) -> list[str]:
    """Return each prompt written anew; empty without a model for it. Every rank writes a share. Collective.

    Raises:
        RunError: the model cannot be loaded, or answers nothing.
    """
    if plan.upsampler is None:
        return []
    kept = Kept(run_dir / FOLDER)
    kept.folder.mkdir(parents=True, exist_ok=True)
    there = kept.positions(len(asked))
    world.barrier()
    alone = replace(world, cp=1)
    mine = [at for at in range(len(asked)) if at not in there][alone.data_rank :: alone.data_size]
    if mine:
        with StepProgress("prompts", len(mine), enabled=world.is_main) as progress:
            writer = Writer(Path(plan.upsampler), DTYPES[plan.model.dtype], world.device)
            for at in mine:
                kept.append([{POSITION: at, "prompt": writer.write(asked[at].prompt)}], rank=world.rank)
                progress.advance()
        del writer  # its memory is needed for the pipeline
        if world.device.type == "cuda":
            torch.cuda.empty_cache()
    world.barrier()
    texts = {int(str(row[POSITION])): str(row["prompt"]) for row in kept.rows()}
    return [texts[at] for at in range(len(asked))]


class Writer:
    """A text model that writes prompts anew, always the likeliest token."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        self.folder = folder
        config = AutoConfig.from_pretrained(folder)
        writes = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        kind: Any = AutoModelForCausalLM if writes else AutoModelForImageTextToText
        try:
            model, seen = kind.from_pretrained(folder, dtype=dtype, output_loading_info=True)
        except (OSError, ValueError) as error:
            raise RunError(f"inference.prompt_upsampler_path: {folder} does not load: {error}") from error
        if seen["missing_keys"]:
            lost = sorted(seen["missing_keys"])
            raise RunError(f"inference.prompt_upsampler_path: {folder} lacks {len(lost)} tensors, such as {lost[0]}")
        self.model: Any = model.to(device).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def write(self, prompt: str) -> str:
        """Return a prompt written anew."""
        said = ASK.format(prompt=prompt)
        if self.tokenizer.chat_template:
            chat = [{"role": "user", "content": said}]
            said = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        inputs = self.tokenizer(said, return_tensors="pt").to(self.model.device)
        end = self.tokenizer.eos_token_id
        out = self.model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=MAX_TOKENS,
            do_sample=False,
            pad_token_id=end if end is not None else 0,
        )
        text = str(self.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()
        if not text:
            raise RunError(f"inference.prompt_upsampler_path: {self.folder} wrote nothing for {prompt[:80]!r}")
        return text
