"""What video is asked for: the file of prompts, and the pictures and clips that video goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tao_runtime.data.facts import MediaKind
from tao_runtime.data.fold import At, Collector, declare, quote
from tao_runtime.data.json_stream import iter_array
from tao_runtime.data.media import cache_path, probe_media
from tao_runtime.data.paths import can_be_path, is_dir, is_file
from tao_runtime.data.references import SUFFIXES
from tao_runtime.errors import Finding, InputError
from tao_runtime.spec.base import AskedRef

_MID_RUN: Final = "found when the network is loaded and the clips before it are made"
PROMPT = declare(
    "clips/prompt", "error", "Each line of a file of prompts asks for a clip, under a name of its own.", source=_MID_RUN
)
GIVEN = declare("clips/given", "error", "What video goes on from is a picture or a clip that is here.", source=_MID_RUN)


def probe_asked(ref: AskedRef) -> tuple[Finding, ...]:
    """Look at every prompt, and open every file that video goes on from."""
    found = Collector(where=ref.prompts_key, file=ref.prompts)
    given = _files(ref) if ref.given else []
    files, names = dict.fromkeys(given), dict[str, int]()
    if ref.prompts:
        try:
            for index, _, _, record in iter_array(Path(ref.prompts)):
                file = _prompt(index, record, ref, found, names)
                files |= {file: None} if file else {}
        except InputError as error:
            saw, _, want = str(error).removeprefix(f"{ref.prompts}:").strip().partition("; want ")
            found.add(PROMPT, saw, want or "one JSON object a line", at=At())
    missing = Collector(where=ref.given_key, file=ref.given)
    if ref.given and not given:
        want = "files that end in " + " ".join(sum(SUFFIXES.values(), ()))
        missing.add(GIVEN, "a folder without pictures or clips", want, at=At())
    there: list[tuple[str, MediaKind]] = []
    for file in files:
        if can_be_path(file) and is_file(Path(file)):
            there.append((file, "image" if file.lower().endswith(SUFFIXES["image"]) else "video"))
        else:
            missing.add(GIVEN, "it is not there", "a picture or a clip", at=At(file=file), fix="check the path")
    opened = probe_media(there, where=ref.given_key, cache=cache_path())
    broken = [one for one in opened if isinstance(one, Finding)]
    return (*found.findings(), *missing.findings(), *broken)


def _files(ref: AskedRef) -> list[str]:
    path = Path(ref.given)
    if not can_be_path(ref.given) or not is_dir(path):
        return [ref.given]
    kinds = sum(SUFFIXES.values(), ())
    return [str(each) for each in sorted(path.iterdir()) if each.suffix.lower() in kinds]


def _prompt(index: int, record: object, ref: AskedRef, found: Collector, names: dict[str, int]) -> str | None:
    """Judge a line; return the file that its video goes on from, where it names one."""
    table: Mapping[str, object] = record if isinstance(record, dict) else {}
    prompt, name, seed, own = (table.get(key) for key in ("prompt", "name", "seed", "input_path"))
    if not isinstance(prompt, str) or not prompt.strip():
        saw = f"prompt: {quote(prompt)}" if isinstance(record, dict) else quote(record)
        found.add(PROMPT, saw, "an object with the text of a prompt", at=At(index, "/prompt"))
    text = f"{index:04d}" if "name" not in table else str(name)
    if Path(text).name != text or not can_be_path(text):
        found.add(PROMPT, f"name: {quote(name)}", "a file name", at=At(index, "/name"))
    elif names.setdefault(text, index) != index:
        found.add(
            PROMPT, f"name: {quote(text)}, as of record {names[text]}", "a name of its own", at=At(index, "/name")
        )
    if seed is not None and (type(seed) is not int or seed < 0):
        found.add(PROMPT, f"seed: {quote(seed)}", "a whole number from 0", at=At(index, "/seed"))
    if ref.needs_given and not own and not ref.given:
        found.add(PROMPT, "no input_path", "the picture or clip that the video goes on from", at=At(index))
    return str(Path(ref.prompts).parent / str(own)) if own else None
