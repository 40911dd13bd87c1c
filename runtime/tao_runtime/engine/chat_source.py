"""Conversations as a source of training: records of a ledger, as tokens and frames, packed into rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from tao_runtime.data.families import PromptOptions
from tao_runtime.data.snapshot import probe_model
from tao_runtime.engine.chat_batch import collate
from tao_runtime.engine.families import Batch
from tao_runtime.engine.frames import FrameCache
from tao_runtime.engine.run_dir import LEDGER
from tao_runtime.engine.samples import Item, SampleSource
from tao_runtime.errors import RunError
from tao_runtime.plan.ledger import Ledger, SampleRules
from tao_runtime.plan.model import TrainPlan
from tao_runtime.spec.base import ModelRef


class ChatSource(SampleSource):
    """Loads conversations and packs them."""

    def collate(self, items: Sequence[Item]) -> Batch:
        """Return a micro-batch."""
        return collate(items, self.rules.geometry)


def open_source(plan: TrainPlan, run_dir: Path, label: str) -> ChatSource:
    """Open a data set of a run directory through its ledger."""
    dataset = plan.data.train if label == "train" else plan.data.val
    if dataset is None:
        raise RunError(f"the plan has no data set {label}")
    data, home = plan.data, plan.model.architecture or plan.model.path  # the weights may lie elsewhere
    geometry = probe_model(ModelRef("model", home, "model.path")).geometry
    prompt = PromptOptions(data.prompt_format, data.system_prompt, data.conversation_key, dataset.response_mode)
    rules = SampleRules(plan.family, data.sampling, geometry, prompt, plan.model.max_length)
    cache = FrameCache(data.cache_bytes if label == "train" or plan.validation.cache else 0)
    tokenizer = Tokenizer.from_file(str(Path(home) / "tokenizer.json"))
    return ChatSource(Ledger.load(run_dir / LEDGER.format(label=label)), rules, tokenizer, cache)
