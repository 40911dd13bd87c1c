"""The file formats that all skills share. A new one adds its line to CONTRACTS."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from tao_runtime.audit.manifest import Manifest
from tao_runtime.audit.report import AuditReport
from tao_runtime.errors import Finding
from tao_runtime.ingest.embeddings import EmbeddingReport
from tao_runtime.ingest.fetch import FetchPlan
from tao_runtime.ingest.llava_ov import StreamState
from tao_runtime.ingest.lock import HubLock
from tao_runtime.ingest.videophy2 import VideoPhy2Report
from tao_runtime.plan.memory.fit import Fit
from tao_runtime.plan.memory.traced import TraceReport
from tao_runtime.plan.model import EvaluatePlan, InferencePlan, TrainPlan, VideoEvaluatePlan, VideoInferencePlan
from tao_runtime.preflight.access import AccessReport
from tao_runtime.preflight.doctor import Diagnosis
from tao_runtime.preflight.report import Report
from tao_runtime.score.clip_results import VideoResults
from tao_runtime.score.metrics import MetricsReport
from tao_runtime.score.results import Result
from tao_runtime.score.ship import ShipReport

# schemas/<name>.schema.json
CONTRACTS: Mapping[str, type[BaseModel]] = {
    "finding": Finding,
    "report": Report,
    "train-plan": TrainPlan,
    "evaluate-plan": EvaluatePlan,
    "inference-plan": InferencePlan,
    "video-evaluate-plan": VideoEvaluatePlan,
    "video-inference-plan": VideoInferencePlan,
    "result": Result,
    "metrics": MetricsReport,
    "video-results": VideoResults,
    "audit": AuditReport,
    "manifest": Manifest,
    "doctor": Diagnosis,
    "fit": Fit,
    "ship": ShipReport,
    "access": AccessReport,
    "embeddings": EmbeddingReport,
    "fetch": FetchPlan,
    "hub-lock": HubLock,
    "stream": StreamState,
    "videophy2": VideoPhy2Report,
    "trace": TraceReport,
}
