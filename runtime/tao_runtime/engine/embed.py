"""Embeddings of captions, computed once and kept beside the clips: a file each, written whole, with whose they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from transformers import AutoTokenizer, T5EncoderModel

from tao_runtime.data.digest import pieces_digest
from tao_runtime.data.hub import Hub, chosen_files, look_at_repo
from tao_runtime.data.snapshot import hub_cache, local_directory, probe_model, tokenizer_folder
from tao_runtime.data.t5 import MAX_TOKENS, EmbeddingError, Encoder, check_embedding, read_embedding, write_embedding
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.text_states import TextEncoder
from tao_runtime.errors import Finding, Fix, InputError, RunError
from tao_runtime.ingest.embeddings import EmbeddingReport, Item, Wanted, list_items
from tao_runtime.preflight.access import judge_answer
from tao_runtime.spec.base import ModelRef
from tao_runtime.spec.hub_asset import HubAsset

INSIDE = "text_encoder"  # of a pipeline folder


@dataclass(frozen=True, slots=True)
class Request:
    """What is embedded, by what."""

    path: Path  # a folder of clips, or a file with one clip a line
    model: str  # hub id, or a folder: of an encoder, or of a pipeline that has one
    prompt: str | None = None
    again: bool = False  # also what was converted from files that do not say their encoder
    batch_size: int = 16


def embed_captions(request: Request, *, show: bool = True) -> EmbeddingReport:
    """Embed every caption whose embedding is not there, or is of another text or encoder.

    What is done stays done: each file appears whole. The encoder is loaded only if something needs it.

    Raises:
        InputError: there are no clips, or the model is no encoder of the right width.
        RunError: the hub does not give the model.
    """
    folder = find_encoder(request.model)
    encoder = Encoder(request.model, encoder_digest(folder) if folder else None)
    wanted = Wanted(encoder, request.again)
    items, found = list_items(request.path, wanted, prompt=request.prompt)
    findings, converted, cut = list(found), 0, 0
    todo = [item for item in items if item.action == "embed"]
    for item in items:
        if item.action != "convert":
            continue
        try:
            _convert(item)
            converted += 1
        except EmbeddingError as error:
            findings.append(_unreadable(item, error))
            todo.append(item)
    if todo:
        folder = folder or fetch_encoder(request.model)
        encoder = Encoder(request.model, encoder_digest(folder))
        cut = _embed(todo, load_encoder(folder, request.model), encoder, batch_size=request.batch_size, show=show)
    return EmbeddingReport(
        ok=all(finding.severity != "error" for finding in findings),
        folder=str(request.path),
        encoder=encoder.name,
        encoder_sha256=encoder.sha256,
        embedded=len(todo),
        converted=converted,
        kept=sum(item.action == "keep" for item in items),
        cut=cut,
        findings=tuple(findings),
    )


def find_encoder(model: str) -> Path | None:
    """Return the folder of an encoder on this machine; of a pipeline, the one inside."""
    folder = local_directory(ModelRef("text_encoder", model, "--model"))
    return folder / INSIDE if folder is not None and (folder / INSIDE).is_dir() else folder


def encoder_digest(folder: Path) -> str | None:
    """Return the identity of an encoder's weights: the one that a check takes of the same folder."""
    digest = probe_model(ModelRef("text_encoder", str(folder), "--model")).weights_sha256
    if digest is not None:
        return digest
    pickles = sorted(folder.glob("pytorch_model*.bin"))
    return pieces_digest(pickles) if pickles else None


def fetch_encoder(model: str) -> Path:
    """Fetch an encoder into the hub's cache. Raises InputError for what is no repository, RunError where it fails."""
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise InputError(f"--model {model}: is not a directory; want one with a T5 encoder, or org/name on the hub")
    asset, hub = HubAsset("text_encoder", model), Hub()
    state = look_at_repo(hub, model)
    names = [file.name for file in chosen_files(asset, state.files)]
    if state.access != "open" or state.commit is None:
        told = [
            f"{each.saw}. Fix: {each.fix.text}" for each in judge_answer(asset, state, hub, where="--model") if each.fix
        ]
        raise RunError(f"{' '.join(told) or model}; or give a local directory with --model")
    try:
        place = snapshot_download(model, allow_patterns=names, endpoint=hub.address, cache_dir=hub_cache())
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(f"{model}: {reason}. What came is kept: the same command goes on") from error
    return Path(place)


def load_encoder(folder: Path, name: str) -> TextEncoder:
    """Load an encoder with its tokenizer, on a GPU where there is one. Raises InputError for what is none."""
    try:
        model = T5EncoderModel.from_pretrained(folder).eval().requires_grad_(False)
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder(folder))
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"--model {name}: {reason}; want a T5 encoder and its tokenizer") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return TextEncoder(model.to(device), tokenizer, name, max_tokens=MAX_TOKENS)


def _convert(item: Item) -> None:
    """Write what another trainer embedded in the safe format. Raises EmbeddingError if it is none."""
    assert item.source is not None
    values = read_embedding(item.source).values if item.source.suffix == ".pickle" else _tensor(item.source)
    write_embedding(item.target, values, caption=item.caption, source=item.source.name)


def _tensor(path: Path) -> np.ndarray:
    """Return the tensor of a file of torch, which is loaded as weights only: nothing in it runs."""
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, ValueError, EOFError, KeyError, UnpicklingError) as error:
        raise EmbeddingError(f"not a file of tensors: {str(error).splitlines()[0][:80]}", unsafe=True) from None
    tensors = [value] if isinstance(value, torch.Tensor) else list(_inside(value))
    if len(tensors) != 1:
        raise EmbeddingError(f"{len(tensors)} tensors; want one")
    values = tensors[0].float().numpy()
    values = values[0] if values.ndim == 3 and values.shape[0] == 1 else values
    check_embedding(halves := values.astype(np.float16))
    return halves


def _inside(value: object) -> Iterator[torch.Tensor]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    for part in parts:
        if isinstance(part, torch.Tensor):
            yield part


def _unreadable(item: Item, error: EmbeddingError) -> Finding:
    saw, _, want = str(error).partition("; want ")
    return Finding(
        rule="prepare/embedding-unreadable",
        severity="warning",
        where=str(item.target.parent),
        file=str(item.source),
        saw=saw,
        want=want or "one tensor",
        fix=Fix(text="it is embedded anew"),
    )


def _embed(items: Sequence[Item], encoder: TextEncoder, who: Encoder, *, batch_size: int, show: bool) -> int:
    """Embed captions, those of like length together; returns how many were cut.

    One text is embedded once, however many clips have it.
    """
    by_caption: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: len(item.caption)):
        by_caption.setdefault(item.caption, []).append(item)
    captions, cut = list(by_caption), 0
    with StepProgress("captions", len(items), enabled=show) as progress:
        for start in range(0, len(captions), batch_size):
            batch = captions[start : start + batch_size]
            cut += sum(_is_cut(encoder, caption) * len(by_caption[caption]) for caption in batch)
            for caption, states in zip(batch, encoder.states(batch), strict=True):
                _write(by_caption[caption], states, who)
                progress.advance(by=len(by_caption[caption]))
    return cut


def _is_cut(encoder: TextEncoder, caption: str) -> bool:
    if len(caption.encode()) <= encoder.max_tokens - 1:  # a token has at least a byte
        return False
    return len(encoder.tokenizer(caption).input_ids) > encoder.max_tokens


def _write(items: Sequence[Item], states: torch.Tensor, who: Encoder) -> None:
    values = states.numpy()
    try:
        check_embedding(values)
    except EmbeddingError as error:
        raise InputError(f"--model {who.name}: states of {items[0].clip} have {error}") from error
    for item in items:
        item.target.parent.mkdir(parents=True, exist_ok=True)
        write_embedding(item.target, values, caption=item.caption, encoder=who)
