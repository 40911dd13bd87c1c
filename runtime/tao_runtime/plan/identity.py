"""What a resumed run must share with the run that saved: hashed from the plan, independent of the world size."""

from __future__ import annotations

import hashlib
import json

from tao_runtime.plan.model import BatchPlan, TrainPlan


def resume_identity(plan: TrainPlan) -> str:
    """Return the sha256 of what decides the meaning of a checkpoint."""
    return _sha256(_parts(plan))


def identity_parts(plan: TrainPlan) -> dict[str, str]:
    """Return the sha256 of each part of the identity, by name: what tells which of them is another."""
    return {name: _sha256(part) for name, part in _parts(plan).items()}


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _parts(plan: TrainPlan) -> dict[str, object]:
    """Return what a checkpoint means.

    The model and what of it is trained, the data and their order, the global batch, the optimizer, the seed. Not the
    number of epochs, the schedule, the mesh, paths or logging: those may change between launches.
    """
    model, data = plan.model, plan.data
    return {
        **_video_parts(plan),
        "family": plan.family,
        # By content where it is known: the same weights may have moved, and others may lie where they were.
        "model": [model.weights_sha256 or [model.path, model.revision], model.max_length],
        "lora": model.lora and model.lora.model_dump(),
        "trained": [model.freeze_pattern, model.trainable_pattern, model.trainable_map],
        "data": [data.train.sha256, data.train.exclude, data.train.response_mode, data.system_prompt],
        "prompt": [data.prompt_format, data.conversation_key, data.sampling.model_dump()],
        "batch": [plan.batch.global_batch, plan.batch.shuffle, plan.batch.seed, plan.batch.drop_last],
        "packs": _packs(plan.batch),
        "optimizer": [plan.optimizer.name, plan.precision.master],
        "seed": plan.seed,
    }


def _packs(batch: BatchPlan) -> list[int | None] | None:
    """Return what a step is where it is counted in packs: how large they are, and how many."""
    if batch.pack_tokens is None:
        return None
    return [batch.pack_tokens, batch.max_samples, (batch.accumulation or 0) * (batch.data_parallel or 0)]


def _video_parts(plan: TrainPlan) -> dict[str, object]:
    """Return what a checkpoint means where video is made: noise, conditioning, clips, averages. Nothing elsewhere."""
    if plan.diffusion is None:
        return {}
    clips, average = plan.data.clips, plan.ema
    return {
        "diffusion": plan.diffusion.model_dump(exclude={"tokenizer"}),
        "clips": clips and clips.model_dump(),
        "average": average and average.model_dump(),
        "selected": [plan.optimizer.keys_to_select, plan.model.skip_loading],
    }
