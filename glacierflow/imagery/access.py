"""May Landsat's requester-pays pixels be read at all? Asked before anything is searched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glacierflow.errors import CredentialsError, DataError, UnavailableError
from glacierflow.imagery.ranges import Ranges
from glacierflow.model import StepSettings

if TYPE_CHECKING:
    from glacierflow.aws import Cloud

__all__ = ["require_paid_access"]

_KNOWN = "s3://usgs-landsat/collection02/catalog.json"
"""The root of the archive's own catalogue; an object, because jobs may read those and not list the bucket."""
_USGS = StepSettings().landsat_stac_url


def require_paid_access(cloud: Cloud, settings: StepSettings) -> None:
    """Ask Landsat's bucket for one paid byte: a refusal now spares the search and all that follows.

    Where another catalogue is searched and no S3 endpoint is named, nobody knows yet where its images are,
    and only the credentials are looked at. A bucket that is busy, or lacks the object, refuses nothing.

    Raises:
        CredentialsError: there are no AWS credentials, or the bucket refuses them.
        UnavailableError: what hands the credentials out stayed away.
    """
    cloud.require_imagery_credentials(settings.imagery_s3_endpoint)
    if settings.landsat_stac_url != _USGS and settings.imagery_s3_endpoint is None:
        return
    twice = settings.model_copy(update={"request_attempts": 2})  # a lone refusal proves nothing
    try:
        Ranges(cloud, twice).fetch(_KNOWN, 0, 1, requester_pays=True)
    except CredentialsError as error:
        raise CredentialsError(
            f"requester-pays images may not be read: {error.message}", next_step=error.next_step
        ) from error
    except (DataError, UnavailableError):
        return
