"""Pipeline folders of diffusers with our own parts: a tokenizer of ours is saved beside, and handed over at loading."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusers.utils import logging

from tao_runtime.engine.video_vae import OURS, load_vae
from tao_runtime.errors import InputError

INDEX = "model_index.json"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what diffusers says of parts that are handed over: every one of ours would be a warning."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


def save_pipeline(pipeline: Any, folder: Path) -> None:
    """Write a pipeline folder, without the safety checker, which is not part of the model.

    A VAE of ours leaves `vae: [null, null]` in the index: diffusers would look for its class where it is not.
    """
    vae, checker = pipeline.vae, getattr(pipeline, "safety_checker", None)
    ours = type(vae).__name__ in OURS
    pipeline.register_modules(safety_checker=None, **({"vae": None} if ours else {}))
    try:
        with quiet():
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
    with quiet():
        pipeline = kind.from_pretrained(folder, **components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
