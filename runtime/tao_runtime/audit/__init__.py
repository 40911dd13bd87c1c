"""Auditors: what any trainer wrote, judged from the files alone. `from tao_runtime.audit import audit`."""

from tao_runtime.audit.audit import audit
from tao_runtime.audit.report import AuditReport

__all__ = ["AuditReport", "audit"]
