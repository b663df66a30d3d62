"""The policies of every role as JSON, for an administrator who makes the roles by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from glacierflow.errors import UsageError
from glacierflow.stack.resolve import Account, Resolver
from glacierflow.stack.templates import MAIN, Template, stack_name

Json = dict[str, Any]

_PASSED_AS = {
    "JobRole": "ExistingJobRole=ARN",
    "ExecutionRole": "ExistingExecutionRole=ARN",
    "InstanceRole": "ExistingInstanceProfile=ARN, of an instance profile that holds it",
    "SubmitterRole": "CreateSubmitterRole=false",
}


def policy_files(
    templates: Iterable[Template], account: Account, parameters: Mapping[str, str]
) -> dict[str, str]:
    """File name -> content: trust and policy of each role, the minimal Lambda policy, and a README.

    Args:
        templates: whose roles.
        account: where they would be used.
        parameters: of the templates, where they differ from the defaults.
    """
    files: dict[str, str] = {}
    rows = []
    told: dict[str, str] = dict(parameters)
    for template in templates:
        where = replace(account, stack=stack_name(account.stack, template.name))
        resolver = Resolver(template, where, {k: v for k, v in told.items() if k in template.parameters})
        told = resolver.outputs() | told
        own = resolver.resources("AWS::IAM::ManagedPolicy")
        by_arn = {resolver.value({"Ref": name}): body["PolicyDocument"] for name, body in own.items()}
        for name, role in resolver.resources("AWS::IAM::Role").items():
            stem = _stem(template.name, name)
            managed = [arn for arn in role.get("ManagedPolicyArns", []) if arn not in by_arn]
            documents = [one["PolicyDocument"] for one in role.get("Policies", [])]
            documents += [by_arn[arn] for arn in role.get("ManagedPolicyArns", []) if arn in by_arn]
            files[f"{stem}.trust.json"] = _json(role["AssumeRolePolicyDocument"])
            if documents:
                files[f"{stem}.policy.json"] = _json(_merged(documents))
            rows.append(f"| {stem} | {', '.join(managed)} | {_PASSED_AS.get(name, '')} |")
        for name, policy in own.items():
            if "Roles" in policy:
                stem = _stem(template.name, name.removesuffix("Policy"))
                files[f"{stem}.policy.json"] = _json(policy["PolicyDocument"])
                rows.append(f"| {stem} | | to the submitter role, besides its own |")
    files["lambda-minimal.policy.json"] = _json(_lambda_policy(account, parameters))
    files["README.md"] = _README + "\n".join(rows) + "\n"
    return files


def write_policies(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Write the files; the folder is made where it is not there.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror}", next_step="name another directory"
        ) from error
    return [folder / name for name in sorted(files)]


def _stem(template: str, role: str) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", role).lower()
    return words if template == MAIN else f"{template}-{words}"


def _merged(documents: Iterable[Json]) -> Json:
    statements = [one for document in documents for one in document["Statement"]]
    return {"Version": "2012-10-17", "Statement": statements}


def _json(document: Json) -> str:
    return json.dumps(document, indent=2) + "\n"


def _lambda_policy(account: Account, parameters: Mapping[str, str]) -> Json:
    """What the predecessor's function needs: its bucket, requester-pays reads, its log."""
    bucket = parameters.get("ExistingBucket") or parameters.get("BucketName")
    name = bucket or f"glacierflow-{account.account_id}-{account.region}"
    arn = f"arn:{account.partition}"
    logs = f"{arn}:logs:{account.region}:{account.account_id}:log-group:/aws/lambda/*"
    return _merged(
        [
            {
                "Statement": [
                    {
                        "Sid": "Products",
                        "Effect": "Allow",
                        "Action": ["s3:GetObject", "s3:PutObject"],
                        "Resource": f"{arn}:s3:::{name}/*",
                    },
                    {
                        "Sid": "ListProducts",
                        "Effect": "Allow",
                        "Action": "s3:ListBucket",
                        "Resource": f"{arn}:s3:::{name}",
                    },
                    {
                        "Sid": "RequesterPaysSources",
                        "Effect": "Allow",
                        "Action": "s3:GetObject",
                        "Resource": [f"{arn}:s3:::usgs-landsat/*", f"{arn}:s3:::sentinel-cogs/*"],
                    },
                    {
                        "Sid": "Log",
                        "Effect": "Allow",
                        "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
                        "Resource": logs,
                    },
                ]
            }
        ]
    )


_README = """# Roles of glacierflow

For each role: `NAME.trust.json` says who may take it, `NAME.policy.json` what it may do. Make it with

    aws iam create-role --role-name NAME --assume-role-policy-document file://NAME.trust.json
    aws iam put-role-policy --role-name NAME --policy-name glacierflow --policy-document file://NAME.policy.json

attach the policies of AWS that the table names (`aws iam attach-role-policy`), and pass the role to
`glacierflow stack deploy --set ...`. `lambda-minimal.policy.json` is for a function's role: the bucket,
requester-pays reads and its log.

| role | policies of AWS | passed as |
|---|---|---|
"""
