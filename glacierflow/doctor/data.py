"""Where images come from and products go: regions, the bucket, requester-pays pixels, the STAC APIs."""

from __future__ import annotations

from collections.abc import Iterator

from glacierflow.aws.errors import plain_errors
from glacierflow.doctor.patient import Patient
from glacierflow.errors import Finding, GlacierflowError

_TIMEOUT_S = 15
_LANDSAT_BUCKET = "usgs-landsat"
_PROBE = "runs/doctor-probe"
"""Key of an upload that is begun and aborted: it asks for the permission and leaves nothing."""


def check_regions(patient: Patient) -> Iterator[Finding]:
    """Pixels that cross regions are paid for by the gigabyte."""
    data, compute = patient.step.imagery_region, patient.cloud.region
    if data == compute:
        yield Finding("regions", "ok", f"images and jobs are in {data}")
    else:
        yield Finding(
            "regions",
            "problem",
            f"the images are in {data}, the jobs would run in {compute}: every byte read is paid for",
            f"set aws_region = {data} in aws_config.ini and deploy there",
        )


def check_bucket(patient: Patient) -> Iterator[Finding]:
    """The bucket is there, in the region of the jobs, and may be written."""
    s3, bucket = patient.cloud.client("s3"), patient.places.bucket
    try:
        with plain_errors(f"look at the bucket {bucket}", service="S3"):
            where = s3.head_bucket(Bucket=bucket)["BucketRegion"]
            upload = s3.create_multipart_upload(Bucket=bucket, Key=_PROBE)["UploadId"]
            s3.abort_multipart_upload(Bucket=bucket, Key=_PROBE, UploadId=upload)
    except GlacierflowError as error:
        yield Finding(
            "bucket",
            "problem",
            error.message,
            "create it (`glacierflow stack deploy` does), set another s3_bucket, or ask for s3:PutObject",
        )
        return
    if where != patient.cloud.region:
        yield Finding(
            "bucket",
            "problem",
            f"{bucket} is in {where}, the jobs would run in {patient.cloud.region}",
            f"use a bucket in {patient.cloud.region}",
        )
    else:
        yield Finding("bucket", "ok", f"{bucket} in {where} may be written")


def check_requester_pays(patient: Patient) -> Iterator[Finding]:
    """Landsat's bucket answers whoever pays for the request."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    name = "requester-pays read"
    endpoint = patient.step.imagery_s3_endpoint
    config = Config(connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries={"max_attempts": 2})
    s3 = patient.cloud.imagery_client(endpoint, patient.step.imagery_region, config)
    try:
        s3.list_objects_v2(Bucket=_LANDSAT_BUCKET, MaxKeys=1, RequestPayer="requester")
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "NoSuchBucket" and endpoint is not None:
            yield Finding(name, "unknown", f"{endpoint} serves no Landsat images yet")
            return
        fix = "give the role s3:GetObject and s3:ListBucket on arn:aws:s3:::usgs-landsat and its objects"
        yield Finding(name, "problem", f"s3://{_LANDSAT_BUCKET} answers {code}", fix)
    except BotoCoreError as error:
        yield Finding(name, "unknown", f"s3://{_LANDSAT_BUCKET} could not be asked: {error}")
    else:
        yield Finding(name, "ok", f"s3://{_LANDSAT_BUCKET} answers")


def check_stac(patient: Patient) -> Iterator[Finding]:
    """Both catalogues answer as STAC APIs."""
    import requests

    step = patient.step
    for url in dict.fromkeys((step.sentinel2_stac_url, step.landsat_stac_url)):
        try:
            answer = requests.get(url, timeout=_TIMEOUT_S)
            answer.raise_for_status()
            page = answer.json()
        except (requests.RequestException, ValueError) as error:
            text = f"{url} does not answer: {str(error).rpartition('Caused by ')[2].strip('()')}"
            yield Finding("STAC API", "problem", text, "check the address in [IMAGERY] and the network")
            continue
        rels = {link.get("rel") for link in page.get("links", [])} if isinstance(page, dict) else set()
        if "search" in rels:
            yield Finding("STAC API", "ok", f"{url} answers")
        else:
            text = f"{url} answers, but not as a STAC API: it has no search"
            yield Finding("STAC API", "problem", text, "correct the address in [IMAGERY] of config.ini")
