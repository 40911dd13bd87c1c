"""Pipeline folders of diffusers with our own parts: a tokenizer of ours is saved beside, and handed over at loading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tao_runtime.engine.video_vae import OURS, load_vae
from tao_runtime.errors import InputError

INDEX = "model_index.json"


def save_pipeline(pipeline: Any, folder: Path) -> None:
    """Write a pipeline folder, without the safety checker, which is not part of the model.

    A VAE of ours leaves `vae: [null, null]` in the index: diffusers would look for its class where it is not.
    """
    vae, checker = pipeline.vae, getattr(pipeline, "safety_checker", None)
    ours = type(vae).__name__ in OURS
    pipeline.register_modules(safety_checker=None, **({"vae": None} if ours else {}))
    try:
        pipeline.save_pretrained(folder)
        if ours:
            vae.save_pretrained(folder / "vae")
    finally:
        pipeline.register_modules(safety_checker=checker, vae=vae)


def load_pipeline(kind: Any, folder: Path, **components: Any) -> Any:
    """Return the pipeline of a folder as class `kind`; `components` replace what the folder holds.

    Raises:
        InputError: the folder is a pipeline of another class.
    """
    index = json.loads((folder / INDEX).read_text())
    if index["_class_name"] != kind.__name__:
        raise InputError(f"{folder}/{INDEX}: _class_name is {index['_class_name']}; want {kind.__name__}")
    if "vae" not in components:
        components["vae"] = load_vae(folder / "vae")
    pipeline = kind.from_pretrained(folder, **components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
