"""What this process finds around it: packaged files, processors, memory, and the machine it runs on.

Two services answer inside a container on ECS: the task metadata endpoint, whose address is in
``ECS_CONTAINER_METADATA_URI_V4``, and on EC2 the instance metadata service, version 2 (IMDSv2). Lambda tells
all it tells in the environment. Elsewhere nothing is asked, and what cannot be learned stays unknown: no
attempt fails or waits for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import math
import os
import shutil
import signal
import stat
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from glacierflow.model.receipt import Machine

_log = logging.getLogger("glacierflow")

_IMDS = "http://169.254.169.254"
_TIMEOUT_S = 1.0
_TOKEN_S = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
_NOTICE_INTERVAL_S = 5.0
"""Between two looks for a reclaim (EC2 user guide, "Spot Instance interruption notices")."""
_NOBODY_THERE = 3
"""Questions without an answer after which there is no metadata service, as on Fargate."""
# both services are on this machine: a proxy must not be asked for them
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def resource_path(name: str) -> Path:
    """Path of a packaged file such as ``ancillary/glacier_regions.gpkg`` or ``config.ini``.

    Raises:
        FileNotFoundError: neither the wheel nor the checkout has it.
    """
    package = Path(__file__).parent
    for root in (package / "data", package.parent):
        candidate = root / name
        if candidate.exists():
            return candidate
    msg = f"{name} is neither in {package / 'data'} nor in {package.parent}"
    raise FileNotFoundError(msg)


_LAMBDA_MEMORY = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"
"""Set by Lambda, in MiB; it alone decides how much processor a function gets."""
LAMBDA_MIB_A_VCPU = 1769
"""Lambda gives vCPUs with memory (Lambda developer guide, "Configure Lambda function memory")."""
MEMORY_CLASSES_MIB = (7_500, 15_500, 31_500, 63_200)
"""Memory of the job definitions: a little less than 8, 16, 32 and 64 GiB, which is what instances offer."""
_CGROUP_QUOTAS = (
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)
"""Microseconds of processor a period, and the period: version 2 in one file, version 1 in two."""
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def cpu_count() -> int:
    """Processors this process may use, at least 1: by affinity, the container's quota and Lambda's share."""
    whole = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [float(whole)]
    for paths in _CGROUP_QUOTAS:
        # "max" where there is no quota, or -1
        with contextlib.suppress(ValueError, OSError):
            quota, period = (int(number) for path in paths for number in Path(path).read_text().split())
            if quota > 0 and period > 0:
                limits.append(quota / period)
    lambda_mib = os.environ.get(_LAMBDA_MEMORY, "")
    if lambda_mib.isdecimal():
        limits.append(int(lambda_mib) / LAMBDA_MIB_A_VCPU)
    return max(1, math.ceil(min(limits)))


def memory_budget_mb(wanted: int | None) -> float:
    """Megabytes this process may use: what a setting says, never more than the container or machine has."""
    limits = [float("inf") if wanted is None else float(wanted)]
    with contextlib.suppress(ValueError, OSError, AttributeError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6)
    for path in _CGROUP_LIMITS:
        # "max" where there is no limit
        with contextlib.suppress(ValueError, OSError):
            limits.append(int(Path(path).read_text()) / 1e6)
    lambda_mib = os.environ.get(_LAMBDA_MEMORY, "")
    if lambda_mib.isdecimal():
        limits.append(int(lambda_mib) * 1.048576)
    return min(limits)


_MALLOPT = {-8: 2, -3: 4 << 20, -1: 16 << 20}
"""glibc's M_ARENA_MAX, M_MMAP_THRESHOLD and M_TRIM_THRESHOLD (bytes), numbered as in malloc.h."""


def give_memory_back() -> None:
    """Have glibc return freed images to the system; elsewhere nothing happens.

    By itself it keeps a heap for each of our thirty threads, and freed blocks of up to 32 MB in each of them.
    """
    # no such function where the C library is another one
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _MALLOPT.items():
            mallopt(parameter, value)


_KERNELS_BYTES = 2 << 20
"""Room that compiled kernels need: 0.4 MB in each of a few versions."""


def is_cluster(environ: Mapping[str, str]) -> bool:
    """Whether this is a job of SLURM, or a machine that can submit one, as the predecessor looked."""
    return bool(environ.get("SLURM_JOB_ID")) or shutil.which("sbatch", path=environ.get("PATH")) is not None


def compiled_cache() -> Path | None:
    """A folder of this user's own for compiled kernels: the user's cache, or one in the temporary directory.

    None where neither can be had or has room. What lies in such a folder is run, so one that others may write
    to is never used, and compiling anew only costs time.

    Compiling takes seconds, which every child of an array job would pay: an image brings the folder along
    (``GLACIERFLOW_COMPILED``), and where that is read-only, as in a container, it is copied (0.4 MB).
    """
    from platformdirs import user_cache_path

    brought = os.environ.get("GLACIERFLOW_COMPILED")
    mine = f"glacierflow-compiled-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    first = user_cache_path("glacierflow") / "compiled" if brought is None else Path(brought)
    for folder in (first, Path(tempfile.gettempdir()) / mine):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK) or not (folder == Path(brought or "") or _is_private(folder)):
                continue
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".part-") as probe:
                probe.write(bytes(_KERNELS_BYTES))
                probe.flush()
            if brought is not None and folder != Path(brought) and Path(brought).is_dir():
                shutil.copytree(brought, folder, dirs_exist_ok=True)
        except OSError:
            continue
        return folder
    return None


def _is_private(folder: Path) -> bool:
    """Whether a folder is this user's own, is no link, and nobody else may write to it."""
    state = folder.lstat()
    is_mine = not hasattr(os, "getuid") or state.st_uid == os.getuid()
    return is_mine and stat.S_ISDIR(state.st_mode) and not state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def find_machine(environ: Mapping[str, str]) -> Machine | None:
    """The machine of this container; None where it runs neither on ECS nor on Lambda.

    Args:
        environ: the environment; ``AWS_EC2_METADATA_DISABLED`` and ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` mean
            what they mean to boto3.
    """
    address = environ.get("ECS_CONTAINER_METADATA_URI_V4")
    if not address:
        return _of_lambda(environ) if "AWS_LAMBDA_FUNCTION_NAME" in environ else None
    container, task = _ask(address), _ask(f"{address}/task")
    logs = container.get("LogOptions") or {}
    limits = container.get("Limits") or {}
    launch_type = task.get("LaunchType")
    instance = _instance(environ) if launch_type != "FARGATE" else {}
    return Machine(
        instance_id=instance.get("instance-id"),
        instance_type=instance.get("instance-type"),
        zone=task.get("AvailabilityZone") or instance.get("placement/availability-zone"),
        lifecycle=instance.get("instance-life-cycle"),
        launch_type=launch_type,
        # ECS counts 1024 units a vCPU
        vcpus=_number(limits.get("CPU"), 1024) or _number((task.get("Limits") or {}).get("CPU"), 1),
        memory_mib=_number(limits.get("Memory"), 1) or _number((task.get("Limits") or {}).get("Memory"), 1),
        image_digest=container.get("ImageID") or None,
        log_group=logs.get("awslogs-group"),
        log_stream=logs.get("awslogs-stream"),
    )


def _of_lambda(environ: Mapping[str, str]) -> Machine:
    memory = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    memory_mib = float(memory) if memory.isdecimal() else None
    return Machine(
        lifecycle="on-demand",
        launch_type="LAMBDA",
        vcpus=round(memory_mib / LAMBDA_MIB_A_VCPU, 2) if memory_mib else None,
        memory_mib=memory_mib,
        log_group=environ.get("AWS_LAMBDA_LOG_GROUP_NAME"),
        log_stream=environ.get("AWS_LAMBDA_LOG_STREAM_NAME"),
    )


def _instance(environ: Mapping[str, str]) -> dict[str, str]:
    """Facts of the EC2 instance; empty where its metadata service does not answer."""
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return {}
    address = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", _IMDS).rstrip("/")
    names = ("instance-id", "instance-type", "placement/availability-zone", "instance-life-cycle")
    try:
        wanted = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = _text(f"{address}/latest/api/token", wanted, method="PUT")
        allowed = {"X-aws-ec2-metadata-token": token}
        return {name: _text(f"{address}/latest/meta-data/{name}", allowed) for name in names}
    except (OSError, ValueError) as error:
        _log.info("the instance metadata service does not answer: %s", error)
        return {}


def stop_when_told(stop: threading.Event) -> None:
    """Set the event at SIGTERM, and at the notice that this spot instance is being taken back.

    The notice comes two minutes ahead and only in the instance's metadata: ECS stops tasks of services on an
    instance that is taken back, and a child of AWS Batch belongs to none. On Fargate SIGTERM does come.
    """
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    watch = threading.Thread(
        target=watch_for_reclaim, args=(os.environ, stop.set, stop.wait), daemon=True, name="reclaim-watch"
    )
    watch.start()


def watch_for_reclaim(
    environ: Mapping[str, str], reclaimed: Callable[[], None], pause: Callable[[float], bool]
) -> None:
    """Look every few seconds whether this spot instance is being taken back; returns when it is.

    Args:
        environ: the environment; without a container on ECS or an address of the service, nobody is asked.
        reclaimed: called once, where it is.
        pause: waits for some seconds; true ends the watch.
    """
    address = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", _IMDS).rstrip("/")
    named = {"ECS_CONTAINER_METADATA_URI_V4", "AWS_EC2_METADATA_SERVICE_ENDPOINT"} & environ.keys()
    if not named or environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return
    interval = float(environ.get("GLACIERFLOW_NOTICE_INTERVAL_S", _NOTICE_INTERVAL_S))
    token, silent, answered = "", 0, False
    while True:
        try:
            token = token or _text(f"{address}/latest/api/token", _TOKEN_S, method="PUT")
            allowed = {"X-aws-ec2-metadata-token": token}
            notice = _text(f"{address}/latest/meta-data/spot/instance-action", allowed)
        except urllib.error.HTTPError as error:
            error.close()
            silent, answered = 0, True
            # 404: there is no notice; anything else may be a token that has run out
            token = token if error.code == 404 else ""
        except (OSError, ValueError):
            silent += 1
            if silent == _NOBODY_THERE and not answered:
                return
        else:
            _log.warning("the spot instance is being taken back: %s", notice.strip())
            reclaimed()
            return
        if pause(interval):
            return


def _ask(address: str) -> dict[str, Any]:
    try:
        answer = json.loads(_text(address, {}))
    except (OSError, ValueError) as error:
        _log.info("the task metadata at %s cannot be read: %s", address, error)
        return {}
    return answer if isinstance(answer, dict) else {}


def _text(address: str, headers: dict[str, str], method: str = "GET") -> str:
    request = urllib.request.Request(address, headers=headers, method=method)  # noqa: S310 - ECS's and EC2's own
    with _opener.open(request, timeout=_TIMEOUT_S) as answer:
        data: bytes = answer.read()
    return data.decode()


def _number(value: object, unit: int) -> float | None:
    return value / unit if isinstance(value, int | float) and value > 0 else None
