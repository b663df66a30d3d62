"""What one embedded cloud is told when it starts."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ExecutorKind = Literal["process", "docker"]
ReclaimForm = Literal["aws", "kind"]
DEFAULT_IMAGE = "glacierflow"
"""The tag that container/README.md builds."""

ACCOUNT_ID = "123456789012"
"""The one AWS account of the embedded cloud, which is moto's own."""


_OWN_REGISTRY = re.compile(rf"{ACCOUNT_ID}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/.+")


def image_here(image: str, stand_in: str) -> str:
    """What to run for an image: nothing is behind the embedded account's ECR, so one image stands for all."""
    return stand_in if _OWN_REGISTRY.fullmatch(image) else image


@dataclass(frozen=True, slots=True)
class CloudOptions:
    """Choices of one server process."""

    home: Path
    """Where state, logs and scratch space lie."""
    endpoint: str
    """URL under which children reach the server, e.g. ``http://127.0.0.1:5000``."""
    vcpus: float = float(os.cpu_count() or 1)
    """vCPUs of this machine that children may use together; the rest waits in RUNNABLE."""
    clock: float = 1.0
    """Batch seconds that pass in one real second, for timeouts and grace periods."""
    spot_reclaim: float = 0.0
    """Share of attempts on spot environments that lose their instance, 0..1."""
    reclaim: ReclaimForm = "aws"
    """How: ``aws`` gives two minutes' notice in the instance's metadata alone, then SIGKILL; ``kind`` sends
    SIGTERM at the notice, as Fargate does."""
    seed: int = 0
    """Decides which attempts these are."""
    executor: ExecutorKind = "process"
    """What a child runs as."""
    image: str = DEFAULT_IMAGE
    """Image that stands for those of the embedded account's ECR, where children are containers."""

    def real_seconds(self, batch_seconds: float) -> float:
        """How long a Batch delay lasts here, in seconds."""
        return batch_seconds / self.clock
