"""Whether a deployed function is what it should be: asked with events that process nothing."""

from __future__ import annotations

from collections.abc import Iterator

from glacierflow.cloud import Cloud
from glacierflow.errors import Finding
from glacierflow.launch.lambda_ import Answer, FunctionFacts, call
from glacierflow.settings import LoadedSettings
from glacierflow.version import __version__

_DEPLOY = "run `glacierflow lambda deploy`"
_NOWHERE = "999_no_such_region"
_ERROR_KEYS = {"error", "returncode", "processing_stdout", "processing_stderr"}
"""Of the predecessor's answer with statusCode 500."""


def examine_function(
    facts: FunctionFacts, cloud: Cloud, loaded: LoadedSettings, bucket: str
) -> Iterator[Finding]:
    """Its sizes and image, what it finds around itself, and the form of its answers.

    Raises:
        UsageError: the function may not be invoked.
        UnavailableError: AWS cannot be reached.
    """
    yield _sizes(facts, loaded)
    yield _image(facts)
    answer = call(cloud, facts.name, {"check": bucket})
    if answer.raised:
        yield Finding("answers", "problem", str(answer.error), "look at `glacierflow logs function`")
        return
    yield _version(answer)
    yield _bucket(answer, facts)
    yield _form(call(cloud, facts.name, {"satellite": "landsat", "region": _NOWHERE, "s3_bucket": bucket}))


def _sizes(facts: FunctionFacts, loaded: LoadedSettings) -> Finding:
    wanted = loaded.settings.lambda_
    told = _in_words(facts.memory_mb, facts.ephemeral_mb, facts.timeout_s)
    said = _in_words(wanted.memory_size, wanted.ephemeral_storage, wanted.timeout)
    if told != said:
        return Finding("configuration", "problem", f"{told}; [LAMBDA] says {said}", _DEPLOY)
    return Finding("configuration", "ok", told)


def _in_words(memory_mb: int, ephemeral_mb: int, timeout_s: float) -> str:
    return f"{memory_mb} MB of memory, {ephemeral_mb} MB of /tmp, {timeout_s:g} s"


def _image(facts: FunctionFacts) -> Finding:
    if facts.image is None:
        return Finding("image", "problem", "it is a zip function, which cannot process images", _DEPLOY)
    if "@sha256:" not in facts.image:
        return Finding("image", "unknown", f"{facts.image} is a tag, which may have moved", _DEPLOY)
    return Finding("image", "ok", facts.image)


def _version(answer: Answer) -> Finding:
    there = answer.body.get("version")
    if there != __version__:
        text = f"the function runs glacierflow {there or 'of another kind'}, here is {__version__}"
        return Finding("version", "problem", text, _DEPLOY)
    return Finding("version", "ok", f"glacierflow {there}, {answer.body['regions']} regions")


def _bucket(answer: Answer, facts: FunctionFacts) -> Finding:
    if answer.error:
        text = f"{facts.role} cannot use the bucket: {answer.error}"
        return Finding("bucket", "problem", text, "`glacierflow stack policies DIR` writes what it needs")
    body = answer.body
    return Finding("bucket", "ok", f"s3://{body['s3_bucket']} is readable; settings: {body['settings']}")


def _form(answer: Answer) -> Finding:
    name = "the predecessor's event"
    if answer.raised or _ERROR_KEYS - answer.body.keys() or _NOWHERE not in str(answer.error):
        return Finding(name, "problem", f"an unknown region is answered with {answer.payload}", _DEPLOY)
    return Finding(name, "ok", "an unknown region is answered with statusCode 500 and the reason")
