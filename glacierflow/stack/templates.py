"""The CloudFormation templates in ``batch/``: what they ask for, and in which stack each goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from glacierflow.errors import UsageError
from glacierflow.host import resource_path

if TYPE_CHECKING:
    import yaml


Json = dict[str, Any]

MAIN, NETWORK = "template", "network"

_MAX_BODY_BYTES = 51_200
"""Longest template CloudFormation takes in a request; longer ones would have to lie in S3."""


@dataclass(frozen=True, slots=True)
class Template:
    """One file of ``batch/``."""

    name: str
    """Its file name without the ending."""
    body: str
    parameters: Mapping[str, Json]
    """The parameters it asks for, as it declares them."""
    content: Json
    """All of it, with intrinsic functions in their long form (``Fn::Sub``)."""

    def list_parameters(self) -> frozenset[str]:
        """Names of the parameters that are lists."""
        kinds = {name: str(one["Type"]) for name, one in self.parameters.items()}
        return frozenset(name for name, kind in kinds.items() if "List" in kind)


def template_names() -> tuple[str, ...]:
    """Every template, in the order of their deployment: the network first, then what the others build on."""
    found = {path.stem for path in resource_path("batch").glob("*.yaml")}
    return (NETWORK, MAIN, *sorted(found - {NETWORK, MAIN}))


def stack_name(base: str, template: str) -> str:
    """``glacierflow`` for the main template, ``glacierflow-network`` and so on for the others."""
    return base if template == MAIN else f"{base}-{template}"


@cache
def load_template(name: str) -> Template:
    """A template by its name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in template_names():
        others = ", ".join(one for one in template_names() if one != MAIN)
        raise UsageError(f"there is no template {name}", next_step=f"name some of {others}")
    body = resource_path(f"batch/{name}.yaml").read_text()
    content = parse_template(body)
    if len(body.encode()) > _MAX_BODY_BYTES:
        msg = f"{name}.yaml is longer than CloudFormation takes"
        raise ValueError(msg)
    return Template(name, body, content.get("Parameters", {}), content)


def parse_template(body: str) -> Json:
    """YAML (or JSON) with the short forms of CloudFormation's functions, which become their long forms.

    ``!Sub x`` becomes ``{"Fn::Sub": "x"}``, ``!GetAtt A.B`` ``{"Fn::GetAtt": ["A", "B"]}``.
    """
    import yaml

    content: Json = yaml.load(body, Loader=_loader())  # noqa: S506 - a safe loader that also knows !Ref
    return content


@cache
def _loader() -> type[yaml.SafeLoader]:
    import yaml

    # written in C, ten times as quick, where PyYAML was built with it
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: type[yaml.SafeLoader] = type("TemplateLoader", (base,), {})
    loader.add_multi_constructor("!", _function)
    # AWS writes dates of policies as text, and so must we
    loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in kinds if tag != "tag:yaml.org,2002:timestamp"]
        for first, kinds in base.yaml_implicit_resolvers.items()
    }
    return loader


def _function(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Json:
    import yaml

    name = tag if tag in {"Ref", "Condition"} else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        text = loader.construct_scalar(node)
        return {name: str(text).split(".", 1) if tag == "GetAtt" else text}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)} if isinstance(node, yaml.MappingNode) else {}
