"""Everything of the embedded cloud that is neither jobs, objects nor logs: stacks, roles, networks, topics.

It is brought in when somebody first asks for it, because it imports half of moto, and saved when it changed.
"""

from __future__ import annotations

import io
import json
import logging
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import moto.backends
import moto.batch.models as moto_batch
import moto.logs.models as moto_logs
import moto.s3.models as moto_s3
from moto.core.base_backend import BaseBackend

from glacierflow.local import moto_private
from glacierflow.local.options import ACCOUNT_ID

_log = logging.getLogger(__name__)

_SERVICES = (
    "budgets",
    "cloudformation",
    "cloudwatch",
    "ec2",
    "ecr",
    "ecs",
    "events",
    "iam",
    "sns",
    "sqs",
    "sts",
)
_SAVED_ELSEWHERE = ("batch", "logs", "s3")
_LOCKS = (type(threading.Lock()), type(threading.RLock()))


def service_of(environ: dict[str, Any]) -> str:
    """The service a request is signed for; what is not signed counts as S3, as moto has it."""
    _, found, scope = str(environ.get("HTTP_AUTHORIZATION", "")).partition("Credential=")
    parts = scope.partition(",")[0].split("/")
    return parts[3] if found and len(parts) > 3 else "s3"


class Infrastructure:
    """The state of those services, in one file."""

    def __init__(self, directory: Path, prepare: Callable[[], None]) -> None:
        self._file = directory / "infrastructure.pickle"
        self._regions_file = directory / "deployed.json"
        self._lock = threading.RLock()
        self._prepare = prepare
        self._ready = False
        self._changed = False

    def was_deployed(self, region: str) -> bool:
        """Whether the stack was ever deployed, by this server or an earlier one."""
        return region in self._regions()

    def note_deployed(self, region: str) -> None:
        """Remember that the stack was deployed."""
        self._regions_file.parent.mkdir(parents=True, exist_ok=True)
        self._regions_file.write_text(json.dumps(sorted({*self._regions(), region})))

    def _regions(self) -> list[str]:
        try:
            found: list[str] = json.loads(self._regions_file.read_text())
        except FileNotFoundError:
            return []
        return found

    def on_request(self, environ: dict[str, Any]) -> None:
        """Bring it in where the request needs it, and remember that it may change."""
        if service_of(environ) in _SAVED_ELSEWHERE:
            return
        self.bring_in()
        if environ["REQUEST_METHOD"] != "GET":
            self._changed = True

    def bring_in(self) -> None:
        """Mend moto's CloudFormation and take over what was saved, once."""
        with self._lock:
            if self._ready:
                return
            from glacierflow.local import formation

            formation.install()
            self._prepare()
            if self._file.exists():
                _restore(self._file.read_bytes())
            self._ready = True

    def save(self) -> None:
        """Write it where it changed, aside and renamed."""
        with self._lock:
            if not self._ready or not self._changed:
                return
            self._changed = False
            try:
                content = _snapshot()
            except RuntimeError:
                # something grew meanwhile: the saver tries again
                self._changed = True
                raise
            except (TypeError, AttributeError, pickle.PicklingError):
                _log.exception("the infrastructure cannot be saved as it is now; the last state stays")
                return
            aside = self._file.with_suffix(".part")
            aside.write_bytes(content)
            aside.replace(self._file)


def _backends(service: str) -> Any:  # noqa: ANN401 - moto's dictionary by account and region
    # Any: the service is a name here, and moto's types want a literal
    backends: Any = moto.backends
    return backends.get_backend(service)[ACCOUNT_ID]


def _snapshot() -> bytes:
    loaded = [name for name in _SERVICES if f"moto.{name}.models" in sys.modules]
    state = {
        name: {region: backend.__dict__ for region, backend in list(_backends(name).items())}
        for name in loaded
    }
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(state)
    return buffer.getvalue()


def _restore(data: bytes) -> None:
    # written by this program, into the user's own directory
    state = _Unpickler(io.BytesIO(data)).load()
    for service, regions in state.items():
        for region, content in regions.items():
            _backends(service)[region].__dict__.update(content)


class _Pickler(pickle.Pickler):
    """Refers to backends, and to what is saved elsewhere, by name."""

    def persistent_id(self, obj: Any) -> tuple[str, ...] | None:  # noqa: ANN401
        if isinstance(obj, BaseBackend):
            service = type(obj).__module__.split(".")[1]
            regions = [region for region, one in _backends(service).items() if one is obj]
            return ("backend", service, regions[0] if regions else obj.region_name)
        if isinstance(obj, (moto_batch.ComputeEnvironment, moto_batch.JobQueue, moto_batch.JobDefinition)):
            return ("batch", obj.arn)
        if isinstance(obj, moto_s3.FakeBucket):
            return ("bucket", obj.name)
        if isinstance(obj, moto_logs.LogGroup):
            return ("log group", obj.region, obj.name)
        return None

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401
        if isinstance(obj, _LOCKS):
            return (threading.RLock, ())
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, reference: tuple[str, ...]) -> Any:  # noqa: ANN401
        kind, *names = reference
        if kind == "backend":
            return _backends(names[0])[names[1]]
        if kind == "bucket":
            return moto_s3.s3_backends[ACCOUNT_ID]["aws"].buckets.get(names[0])
        if kind == "log group":
            return moto_logs.logs_backends[ACCOUNT_ID][names[0]].groups.get(names[1])
        return _batch_resource(names[0])


def _batch_resource(arn: str) -> Any:  # noqa: ANN401
    # Any: to a type checker moto's classes are abstract
    backend: Any = moto_batch.batch_backends[ACCOUNT_ID][arn.split(":")[3]]
    for kept in moto_private.batch_tables(backend):
        if arn in kept:
            return kept[arn]
    return None
