"""What an inference is asked: questions about media, or prompts of clips. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tao_runtime.data.json_stream import iter_array
from tao_runtime.errors import InputError
from tao_runtime.plan.model import InferencePlan, VideoInferencePlan

VIDEOS = "videos"
SUFFIXES = {
    "video": (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v"),
    "image": (".jpg", ".jpeg", ".png", ".webp", ".bmp"),
}


def answer_requests(plan: InferencePlan) -> Iterator[tuple[dict[str, object], Path]]:
    """Yield (record, media root) of everything that is asked: each prompt about each file.

    Raises:
        InputError: there is nothing to ask about.
    """
    media = Path(plan.media)
    if media.suffix in (".json", ".jsonl"):
        for _, _, _, value in iter_array(media):
            if isinstance(value, dict):
                yield value, media.parent
        return
    files = [media]
    if media.is_dir():
        files = sorted(path for path in media.iterdir() if path.suffix.lower() in SUFFIXES[plan.media_kind])
    if not files:
        raise InputError(f"media: {media} holds no {plan.media_kind}; want {', '.join(SUFFIXES[plan.media_kind])}")
    prompts = plan.prompts or (plan.prompt,)
    for path in files:
        for number, prompt in enumerate(prompts):
            turns = [{"from": "human", "value": f"<{plan.media_kind}>\n{prompt}"}]
            name = path.name if len(prompts) == 1 else f"{path.name}#{number}"
            yield {"id": name, plan.media_kind: path.name, "conversations": turns}, path.parent


@dataclass(frozen=True, slots=True)
class Asked:
    """One video that is asked for."""

    name: str
    prompt: str
    given: Path | None  # picture or clip to go on from
    seed: int


def clip_requests(plan: VideoInferencePlan) -> Iterator[Asked]:
    """Yield what is asked for: one prompt, for each file where a folder is given, or each line of a file of prompts.

    Raises:
        InputError: a line has no prompt, a name is no file name or there twice, or a folder holds nothing.
    """
    if plan.prompts is None:
        given = _files(Path(plan.input)) if plan.input else [None]
        for number, path in enumerate(given):
            name = f"{number:04d}" if path is None or len(given) == 1 else path.name.replace(".", "-")
            yield Asked(name, plan.prompt, path, plan.sampler.seed)
        return
    folder, seen = Path(plan.prompts).parent, set[str]()
    for index, _, _, record in iter_array(Path(plan.prompts)):
        table = record if isinstance(record, dict) else {}
        prompt, name = table.get("prompt"), str(table.get("name", f"{index:04d}"))
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError(f"{plan.prompts}: record {index} has no prompt")
        if Path(name).name != name or name in seen:
            raise InputError(f"{plan.prompts}: record {index}: name {name!r}; want a file name, and each once")
        seed = table.get("seed", plan.sampler.seed)
        if type(seed) is not int or seed < 0:
            raise InputError(f"{plan.prompts}: record {index}: seed {seed!r}; want a whole number from 0")
        seen.add(name)
        own = table.get("input_path")
        path = folder / str(own) if own else Path(plan.input) if plan.input else None
        yield Asked(name, prompt, path, seed)


def _files(path: Path) -> list[Path | None]:
    if not path.is_dir():
        return [path]
    kinds = SUFFIXES["video"] + SUFFIXES["image"]
    found: list[Path | None] = [each for each in sorted(path.iterdir()) if each.suffix.lower() in kinds]
    if not found:
        raise InputError(f"inference.input_path: {path} holds no picture or clip; want {', '.join(kinds)}")
    return found
