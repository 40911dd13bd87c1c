"""Evaluation of a video generator: its loss on held-out clips at fixed noise, and what it makes in their place."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tao_runtime.data.records import read_caption
from tao_runtime.data.snapshot import network_folder
from tao_runtime.engine.build import build_whole
from tao_runtime.engine.clip_samples import cut_of, given_frames, make_video, real_frames, reconstruct, request_of
from tao_runtime.engine.clip_source import ClipItem, ClipSource
from tao_runtime.engine.commit_weights import load_commit_weights
from tao_runtime.engine.commits import write_atomically
from tao_runtime.engine.dist import World
from tao_runtime.engine.families import ClipFamily, clip_family
from tao_runtime.engine.generate import load_tuned, pipeline_module, text_length
from tao_runtime.engine.noise_losses import losses_at_levels
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.run_dir import RunLog, RunRecord, now
from tao_runtime.engine.source import VALIDATION_STEP, BadSample
from tao_runtime.errors import RunError
from tao_runtime.plan.model import ModelPlan, VideoEvaluatePlan
from tao_runtime.score.clip_page import draw_grid, save_strip, write_page
from tao_runtime.score.clip_results import (
    VIDEO_RESULTS_NAME,
    ClipCounts,
    ClipResult,
    VideoResults,
    Who,
    loss_figures,
    similarity_figures,
    write_video_results,
)

LABEL, PARTS, VIDEOS, STRIPS = "eval", "parts", "videos", "strips"
GRID, PAGE = "grid.png", "report.html"


@dataclass(slots=True)
class Judge:
    """One process's share of an evaluation. `found`: position in the ledger -> what was measured so far."""

    plan: VideoEvaluatePlan
    run_dir: Path
    world: World
    family: ClipFamily
    source: ClipSource
    log: RunLog
    components: Mapping[str, Any]  # of the pipeline, in the place of what its folder holds
    found: dict[int, ClipResult] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many clips are judged, over all processes."""
        total = len(self.source.ledger)
        return total if self.plan.limit is None else min(total, self.plan.limit)

    def mine(self, what: str, number: int) -> Iterator[tuple[int, ClipItem]]:
        """Yield this process's share of `number` clips, spread over the data set; what cannot be read is noted once."""
        own = self.spread(number)[self.world.rank :: self.world.size]
        with StepProgress(what, len(own), enabled=self.world.is_main) as progress:
            for position in own:
                item = self.source.load(position, VALIDATION_STEP)
                self._note(position, item)
                if isinstance(item, ClipItem):
                    yield position, item
                progress.advance()

    def spread(self, number: int) -> list[int]:
        """Return the positions of so many clips, evenly over those that are judged."""
        number = min(number, self.count)
        return [index * self.count // number for index in range(number)]

    def _note(self, position: int, item: ClipItem | BadSample) -> None:
        if position in self.found:
            return
        file, clip, window = cut_of(self.source, position)
        self.found[position] = ClipResult(
            record=int(self.source.ledger.record[position]),
            file=str(file),
            caption=read_caption(self.source.ledger, position, window).caption,
            first_frame=clip.start,
            interval=clip.interval,
            num_frames=clip.num_frames,
            height=clip.height,
            width=clip.width,
            fps=clip.fps,
            given_frames=given_frames(self.source, item.draw.condition_frames) if isinstance(item, ClipItem) else 0,
            losses={},
            error=item.reason if isinstance(item, BadSample) else None,
        )

    def add(self, position: int, **figures: Any) -> None:
        """Add figures to what was measured on a clip."""
        self.found[position] = self.found[position].model_copy(update=figures)

    def strip(self, position: int, name: str, frames_THWC: np.ndarray) -> None:
        save_strip(frames_THWC, self.run_dir / STRIPS / f"{position:06d}-{name}.png")


def evaluate_clips(
    plan: VideoEvaluatePlan, run_dir: Path, world: World, *, components: Mapping[str, Any] | None = None
) -> None:
    """Judge this rank's share of the clips; the main rank then brings all of them together. Collective."""
    log, started, clock = RunLog(run_dir, is_main=world.is_main), now(), time.monotonic()
    family = clip_family(plan.family)
    source = family.open_source(plan, run_dir, LABEL, world)
    judge = Judge(plan, run_dir, world, family, source, log, components or {})
    for folder in (PARTS, VIDEOS, STRIPS):
        (run_dir / folder).mkdir(exist_ok=True)
    _reconstructions(judge)
    models: list[tuple[Who, ModelPlan]] = [("tuned", plan.model)]
    models += [("baseline", plan.baseline)] if plan.baseline is not None else []
    for who, model in models:
        _videos(judge, who, model)  # first: it is here that a missing safety checker is told
        _losses(judge, who, model)
    part = run_dir / PARTS / f"rank-{world.rank}.json"
    write_atomically(part, json.dumps({at: row.model_dump(mode="json") for at, row in judge.found.items()}))
    world.barrier()
    if world.is_main:
        results = _together(judge)
        log.complete(
            RunRecord(
                action=plan.action,
                family=plan.family,
                spec_sha256=plan.spec_sha256,
                started_at=started,
                finished_at=now(),
                seconds=round(time.monotonic() - clock, 2),
                records=len(results.clips),
                bad_samples=results.counts.unreadable,
                gates=tuple(log.gates),
                metrics=headline(results),
                outputs={"results": VIDEO_RESULTS_NAME} | _pictures(judge, results),
                parents={"annotation": plan.data.sha256 or "", "model": plan.model.path},
            )
        )
    world.barrier()


def _network(judge: Judge, who: Who, model: ModelPlan, *, packed: bool) -> torch.nn.Module:
    """Return a model's network, whole on this device, with the weights of the plan's commit where they are its own."""
    network, report = build_whole(judge.family, model, judge.world.device, packed=packed)
    taken = 0
    if who == "tuned" and judge.plan.commit is not None:
        shapes = judge.family.build(network_folder(Path(model.base_path or model.path)), packed=True)
        fresh = frozenset(judge.family.fresh_parameters(shapes))
        commit = Path(judge.plan.commit)
        taken = load_commit_weights(network, commit, averaged=judge.plan.averaged, apart=fresh)
    if packed:
        judge.log.gate(f"{who}-weights", ok=True, expected=report.expected, matched=report.matched, from_commit=taken)
    return network


def _reconstructions(judge: Judge) -> None:
    """Encode and decode clips; where videos are made, only clips that are made are shown."""
    shown = set(judge.spread(judge.plan.num_videos))
    for position, _ in judge.mine("reconstruct", judge.plan.num_reconstructions):
        real = real_frames(judge.source, position)
        again, alike = reconstruct(judge.source, position, real)
        judge.add(position, reconstruction=alike)
        if position in shown or not shown:
            judge.strip(position, "real", real)
            judge.strip(position, "reconstruction", again)


def _videos(judge: Judge, who: Who, model: ModelPlan) -> None:
    """Generate clips from their captions, each with a seed of its own."""
    plan = judge.plan
    if not plan.num_videos:
        return
    module, parts = pipeline_module(plan.family), dict(judge.components)
    if model.base_path is not None or (who == "tuned" and plan.commit is not None):
        parts["transformer"] = _network(judge, who, model, packed=False)
    length = text_length(Path(model.base_path or model.path))
    pipeline = load_tuned(module, model, plan.sampler, vae=judge.source.vae.model, **parts).to(judge.world.device)
    for position, _ in judge.mine(f"videos {who}", plan.num_videos):
        real, given = real_frames(judge.source, position), judge.found[position].given_frames
        request = request_of(
            judge.source, position, plan.sampler, given_THWC=real[:given] if given else None, text_length=length
        )
        name = f"{VIDEOS}/{position:06d}-{who}.mp4"
        frames, made = make_video(module, pipeline, request, run_dir=judge.run_dir, name=name)
        judge.add(position, made={**judge.found[position].made, who: made})
        judge.strip(position, "real", real)
        judge.strip(position, who, frames)
    _free(judge.world)


def _losses(judge: Judge, who: Who, model: ModelPlan) -> None:
    """Measure the loss of every clip at every level."""
    network, levels = _network(judge, who, model, packed=True), judge.plan.noise_levels
    for position, item in judge.mine(f"loss {who}", judge.count):
        losses = losses_at_levels(judge.family, network, judge.source, item, position, levels)
        judge.add(position, losses={**judge.found[position].losses, who: losses})
    _free(judge.world)


def _free(world: World) -> None:
    """Give back what the last model took: the next one may need all of it."""
    gc.collect()
    if world.device.type == "cuda":
        torch.cuda.empty_cache()


def _merged(judge: Judge) -> tuple[ClipResult, ...]:
    """Return the result of each clip: ranks may have shared the work on one, but not its losses.

    Raises:
        RunError: a clip has no result, or two.
    """
    found: dict[int, list[ClipResult]] = {}
    for rank in range(judge.world.size):
        part = json.loads((judge.run_dir / PARTS / f"rank-{rank}.json").read_text())
        for at, row in part.items():
            found.setdefault(int(at), []).append(ClipResult.model_validate(row))
    judged = [at for at, rows in found.items() for row in rows if row.losses]
    failed = [at for at, rows in found.items() if any(row.error is not None for row in rows)]
    complete = sorted(judged + failed) == list(range(judge.count))
    judge.log.gate("one-result-each", ok=complete, clips=judge.count, judged=len(judged), unreadable=len(failed))
    if not complete:
        raise RunError(f"{judge.count} clips gave {len(judged)} results and {len(failed)} reasons why there is none")
    return tuple(_one(found[at]) for at in range(judge.count))


def _one(rows: list[ClipResult]) -> ClipResult:
    """Return what several ranks measured on one clip as one result."""
    losses = {who: value for row in rows for who, value in row.losses.items()}
    made = {who: value for row in rows for who, value in row.made.items()}
    again = next((row.reconstruction for row in rows if row.reconstruction is not None), None)
    return rows[0].model_copy(update={"losses": losses, "made": made, "reconstruction": again})


def _together(judge: Judge) -> VideoResults:
    """Bring the parts of all ranks together and write the results."""
    plan, run_dir = judge.plan, judge.run_dir
    clips = _merged(judge)
    unreadable = sum(clip.error is not None for clip in clips)
    for clip in clips:
        if clip.error is not None:
            judge.log.status("bad-sample", record=clip.record, reason=clip.error)
    loss, by_level = loss_figures(clips, plan.noise_levels)
    records, excluded = len(judge.source.ledger), len(plan.data.exclude)
    results = VideoResults(
        family=plan.family,
        spec_sha256=plan.spec_sha256,
        model=plan.model.path,
        commit=plan.commit,
        weights="as exported" if plan.commit is None else "averaged" if plan.averaged else "live",
        baseline=plan.baseline.path if plan.baseline is not None else None,
        seed=plan.sampler.seed,
        counts=ClipCounts(
            records=records + excluded,
            judged=judge.count - unreadable,
            unreadable=unreadable,
            without_sample=excluded,
            not_asked=records - judge.count,
        ),
        dropped=plan.data.dropped,
        loss=loss,
        by_level=by_level,
        reconstruction=similarity_figures([clip.reconstruction for clip in clips if clip.reconstruction]),
        given={
            who: found
            for who in _who(plan)
            if (found := similarity_figures([m.given for clip in clips if (m := clip.made.get(who)) and m.given]))
        },
        clips=clips,
    )
    write_video_results(results, run_dir / VIDEO_RESULTS_NAME)
    return results


def _who(plan: VideoEvaluatePlan) -> tuple[Who, ...]:
    return ("tuned",) if plan.baseline is None else ("tuned", "baseline")


def _pictures(judge: Judge, results: VideoResults) -> dict[str, str]:
    """Draw the grid and write the page; returns the outputs that there are."""
    strips = sorted((judge.run_dir / STRIPS).glob("*.png"))
    if strips:
        draw_grid(results, strips, judge.run_dir / GRID)
    write_page(results, strips, judge.run_dir / PAGE)
    made = {"videos": VIDEOS} if any(clip.made for clip in results.clips) else {}
    return {"report": PAGE} | ({"grid": GRID} if strips else {}) | made


def headline(results: VideoResults) -> dict[str, float]:
    """Return the figures that run.json says."""
    figures = {
        "tokenizer/psnr": results.reconstruction.get("psnr"),
        "tokenizer/ssim": results.reconstruction.get("ssim"),
    }
    if results.loss is not None:
        figures |= {
            "eval/loss": results.loss.tuned,
            "eval/baseline_loss": results.loss.baseline,
            "eval/loss_difference": results.loss.difference,
        }
    return {name: each.value for name, each in figures.items() if each is not None and each.value is not None}
