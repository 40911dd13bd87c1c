"""The file formats that all skills share. A new one adds its line to CONTRACTS."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from tao_runtime.audit.report import AuditReport
from tao_runtime.errors import Finding
from tao_runtime.plan.memory.fit import Fit
from tao_runtime.plan.model import (
    EvaluatePlan,
    InferencePlan,
    QuantizePlan,
    TrainPlan,
    VideoEvaluatePlan,
    VideoInferencePlan,
)
from tao_runtime.preflight.doctor import Diagnosis
from tao_runtime.preflight.report import Report
from tao_runtime.score.metrics import MetricsReport
from tao_runtime.score.quantized import QuantizeReport
from tao_runtime.score.results import Result

# schemas/<name>.schema.json
CONTRACTS: Mapping[str, type[BaseModel]] = {
    "finding": Finding,
    "report": Report,
    "train-plan": TrainPlan,
    "evaluate-plan": EvaluatePlan,
    "inference-plan": InferencePlan,
    "quantize-plan": QuantizePlan,
    "video-evaluate-plan": VideoEvaluatePlan,
    "video-inference-plan": VideoInferencePlan,
    "result": Result,
    "metrics": MetricsReport,
    "quantized": QuantizeReport,
    "audit": AuditReport,
    "doctor": Diagnosis,
    "fit": Fit,
}
