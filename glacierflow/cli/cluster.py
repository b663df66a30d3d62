"""The dask scheduler whose workers ``glacierflow run --scheduler`` uses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from distributed import Client

    from glacierflow.settings import Settings

__all__ = ["SchedulerOption", "workers_of"]

_CONNECT_S = 10
_PORTS = 65_536

SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="Let the workers of this dask scheduler read and resample; images are written here.",
    ),
]


@contextlib.contextmanager
def workers_of(scheduler: str | None, settings: Settings) -> Iterator[Client | None]:
    """A client of the dask scheduler that was named, or None.

    Raises:
        UsageError: it cannot be reached, has no workers, or cannot do what the settings ask for.
    """
    if scheduler is None:
        yield None
        return
    if settings.flags.download_flag:
        raise UsageError(
            "download_flag = 1 and --scheduler exclude each other: workers keep no windows",
            next_step="leave one of the two out",
        )
    try:
        import distributed
    except ImportError as error:
        raise UsageError(
            "--scheduler needs the package distributed", next_step="pip install 'glacierflow[cluster]'"
        ) from error
    _check_address(scheduler)
    connect: Any = distributed.Client  # untyped
    try:
        client = connect(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--scheduler = {scheduler} does not answer: {error}",
            next_step="write the address that the scheduler shows, such as tcp://127.0.0.1:8786",
        ) from error
    with client:
        if not client.nthreads():
            raise UsageError(
                f"--scheduler = {scheduler} has no workers", next_step=f"start one: dask worker {scheduler}"
            )
        yield client


def _check_address(scheduler: str) -> None:
    """Refuse what is no address: a client would go on trying it in the background.

    Raises:
        UsageError: host or port is missing, or the protocol is not known.
    """
    from distributed.comm.addressing import get_address_host_port, normalize_address

    parse: Any = get_address_host_port  # untyped
    try:
        host, port = parse(normalize_address(scheduler), strict=True)
    except ValueError as error:
        host, port, why = "", 0, str(error)
    else:
        why = "it needs a host, and a port below 65536"
    if not host or not 0 < port < _PORTS:
        raise UsageError(
            f"--scheduler = {scheduler} is not an address: {why}",
            next_step="write the address that the scheduler shows, such as tcp://127.0.0.1:8786",
        )
