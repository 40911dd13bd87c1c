"""Where metrics go besides metrics.jsonl: the console, W&B, TensorBoard."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tao_runtime.errors import InputError
from tao_runtime.plan.model import LoggingPlan


class MetricLogger(Protocol):
    """Takes the metrics of a step."""

    def log(self, step: int, values: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoardLogger:
    """Writes event files under <run>/tensorboard."""

    def __init__(self, plan: LoggingPlan, run_dir: Path) -> None:
        module = _load("torch.utils.tensorboard", extra="tensorboard")
        self._writer = module.SummaryWriter(str(run_dir / "tensorboard"))

    def log(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WandbLogger:
    """Logs to Weights & Biases; the run's id is kept in wandb_id.txt, so that a resumed run continues its curves."""

    def __init__(self, plan: LoggingPlan, run_dir: Path) -> None:
        wandb = _load("wandb", extra="wandb")
        id_file = run_dir / "wandb_id.txt"
        run_id = id_file.read_text().strip() if id_file.is_file() else wandb.util.generate_id()
        id_file.write_text(run_id + "\n")
        self._run = wandb.init(
            project=plan.project,
            name=plan.experiment,
            group=plan.group,
            id=run_id,
            resume="allow",
            dir=str(run_dir),
            mode="offline" if plan.offline else None,
        )

    def log(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


def _load(module: str, *, extra: str):  # type: ignore[no-untyped-def]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"logging.logger: {extra} is not installed. Fix: pip install 'tao-run[{extra}]', or take it off the list"
        ) from error


LOGGERS: dict[str, Callable[[LoggingPlan, Path], MetricLogger]] = {
    "tensorboard": TensorBoardLogger,
    "wandb": WandbLogger,
}


def make_loggers(plan: LoggingPlan, run_dir: Path) -> list[MetricLogger]:
    """Return the loggers of a plan; `console` is the progress display, `tao` is status.jsonl, always written."""
    return [LOGGERS[name](plan, run_dir) for name in plan.loggers if name in LOGGERS]
