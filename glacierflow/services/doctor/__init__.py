"""Whether everything a run needs is there, asked before it is needed."""

from __future__ import annotations

from glacierflow.services.doctor.examine import examine

__all__ = ["examine"]
