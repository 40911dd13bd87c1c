"""Who a run is: the `job` table. Its task and experiment also say which family and which shipped base are meant."""

from __future__ import annotations

from typing import Final, Literal

from tao_runtime.spec.base import Section
from tao_runtime.spec.field import Text
from tao_runtime.spec.structured.field import OURS, key

Task = Literal["vfm", "vlm", "text2world", "video2world"]
DEFAULT_TASK: Final = "vfm"

TASK_DOC: Final = (
    "Which kind of model: vfm generates video, vlm answers about it, text2world and video2world are Predict."
)
EXPERIMENT_DOC: Final = (
    "Shipped base, by upstream's name: it gives size, data wiring and objective to every key that the file leaves out. "
    "Empty: every key at its own default."
)


class Job(Section):
    """Name and place of a run."""

    task: Task = key(DEFAULT_TASK, TASK_DOC)
    experiment: str = key("", EXPERIMENT_DOC)
    project: str = key("", "First folder below output_root; project of the run at a logging service.")
    group: str = key("", "Second folder; label that related runs share.")
    name: str = key("", "Third folder; name of the run. Empty: the time at which it is started.")
    wandb_mode: Literal["disabled", "offline", "online"] = key(
        "disabled", "Whether metrics also go to Weights & Biases: not, to files for later, or at once."
    )
    output_root: Text = key(
        "outputs/train",
        "Folder that runs are written under, as <output_root>/<project>/<group>/<name>. A file that leaves it out "
        "takes the environment variable of upstream's launcher where that is set.",
        since=OURS,
    )
