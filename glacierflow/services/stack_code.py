"""What stacks run and no stack makes: the function's image, and the scheduler's zips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from glacierflow.aws import Cloud
from glacierflow.errors import UsageError
from glacierflow.services.push import digest_in_ecr
from glacierflow.services.stack import describe
from glacierflow.services.stack_parameters import choose_parameters
from glacierflow.services.templates import Template, stack_name
from glacierflow.store import open_store

__all__ = ["check_code"]

_IMAGE, _ZIPS = "lambda", "schedule"
"""The templates that need something."""
_WAYS = {_IMAGE: "glacierflow lambda deploy", _ZIPS: "glacierflow lambda package --zip dist --push"}


def check_code(templates: Iterable[Template], cloud: Cloud, base: str, given: Mapping[str, str]) -> None:
    """Refuse stacks whose code is not where they would look for it; CloudFormation would take all back.

    Args:
        templates: what is to be deployed on top of the main stack, which has bucket and repository.
        cloud: which AWS; the embedded cloud runs this very code and wants no image.
        base: name of the main stack.
        given: values by parameter, for all templates together.

    Raises:
        UsageError: naming all that is missing, and the commands that put it there.
        UnavailableError: AWS cannot be reached.
    """
    missing: dict[str, list[str]] = {}
    for template in templates:
        values = _values(template, cloud, base, given) if template.name in _WAYS else None
        if values is None:
            continue
        found = _images(values, cloud) if template.name == _IMAGE else _zips(values, cloud)
        missing |= {template.name: words} if (words := list(found)) else {}
    if missing:
        stacks = " and ".join(stack_name(base, name) for name in missing)
        things = ", ".join(word for words in missing.values() for word in words)
        where = " --local" if cloud.embedded else ""
        ways = ", ".join(f"`{_WAYS[name]}{where}`" for name in missing)
        raise UsageError(
            f"what {stacks} would run is not there yet: {things}; only the stack {base} was touched",
            next_step=f"run {ways}, then this command again",
        )


def _values(template: Template, cloud: Cloud, base: str, given: Mapping[str, str]) -> dict[str, str] | None:
    """All parameters as they would be; None where they are as at the last time."""
    state = describe(cloud, stack_name(base, template.name))
    last = {} if state is None or state.status == "REVIEW_IN_PROGRESS" else dict(state.parameters)
    values = last | choose_parameters(template, cloud, base, given)
    if last and values == last:
        return None
    return {name: str(one.get("Default", "")) for name, one in template.parameters.items()} | values


def _images(values: Mapping[str, str], cloud: Cloud) -> Iterator[str]:
    """The tag the template falls back on; an image that is named is the user's own affair."""
    if values["FunctionImage"] or cloud.embedded:
        return
    repository, tag = values["RepositoryName"], values["FunctionImageTag"]
    if digest_in_ecr(cloud.client("ecr"), repository, tag) is None:
        yield f"the image {repository}:{tag}"


def _zips(values: Mapping[str, str], cloud: Cloud) -> Iterator[str]:
    store = open_store(f"s3://{values['Bucket']}", cloud)
    for key in (values["CodeKey"], values["LayerKey"]):
        if not store.exists(key):
            yield store.uri(key)
