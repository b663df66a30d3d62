"""A deleted stack's bucket and repository are used again: by name, by tag, or by the command printed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from embedded import at_home, cloud_of, own_cloud, stack_outputs
from runs_samples import some_manifest
from stubbed import stubbed

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.launch.batch import write_manifest
from glacierflow.stack import existing
from glacierflow.stack.existing import adopt
from glacierflow.stack.templates import MAIN, load_template
from glacierflow.store import open_store

TAGS = [{"Key": "project", "Values": ["glacierflow"]}, {"Key": "stack", "Values": ["other"]}]
ASKED = {"TagFilters": TAGS, "ResourceTypeFilters": ["s3", "ecr:repository"]}
DEFAULT = "glacierflow-111122223333-us-west-2"


@pytest.mark.embedded
def test_runs_are_listed_again_after_delete_and_deploy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stack(*words: str, expect: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert run(["stack", *words, "--local", "--yes"]) == expect
        return capsys.readouterr()

    def listed() -> tuple[str, list[str]]:
        capsys.readouterr()
        assert run(["batch", "list", "--local", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        return found["store"].rstrip("/"), [one["run_id"] for one in found["runs"]]

    def note_run(bucket: str) -> tuple[str, list[str]]:
        store = f"s3://{bucket}"
        manifest = some_manifest(1, store)
        write_manifest(manifest, open_store(store, cloud_of(tmp_path)))
        return store, [manifest.run_id]

    with own_cloud(tmp_path), at_home(tmp_path):
        for name in ("config.ini", "aws_config.ini"):
            Path(name).touch()
        first = note_run("greenland-glacier-data")
        stack("delete")
        stack("deploy")
        assert listed() == first

        stack("delete")
        stack("deploy", "--set", "BucketName=my-own-bucket", "--set", "RepositoryName=images")
        second = note_run("my-own-bucket")
        command = stack("delete")[0].splitlines()[-1]
        assert command == (
            "glacierflow stack deploy --local --set BucketName=my-own-bucket --set RepositoryName=images"
        )
        told = stack("deploy", expect=64)[1]
        assert "left more than one bucket: greenland-glacier-data, my-own-bucket" in told
        assert run([*shlex.split(command)[1:], "--yes"]) == 0
        assert listed() == second
        names = {one["Name"] for one in cloud_of(tmp_path).client("s3").list_buckets()["Buckets"]}
        assert names == {"greenland-glacier-data", "my-own-bucket"}

        def repository() -> str:
            client = cloud_of(tmp_path).client("cloudformation")
            return stack_outputs(client, "glacierflow")["RepositoryName"]

        assert repository() == "images"
        # aws_config.ini names the repository of a stack that is yet to be made; one there keeps its own
        Path("aws_config.ini").write_text("[LAMBDA]\necr_repository = glacier-lambda\n")
        told = stack("deploy")[1]
        assert "keeps its image repository images; ecr_repository = glacier-lambda is for a stack" in told
        assert repository() == "images"
        stack("delete")
        assert "keeps" not in stack("deploy", "--set", "BucketName=my-own-bucket")[1]
        assert repository() == "glacier-lambda"
        stack("delete")
        typed = ["--set", "BucketName=my-own-bucket", "--set", "RepositoryName=images"]
        assert "ExistingRepository = images" in stack("deploy", *typed)[1]
        assert run(["stack", "policies", "roles", "--account", "111122223333"]) == 0
        assert ":repository/glacier-lambda" in Path("roles", "execution-role.policy.json").read_text()


def adopted(monkeypatch: pytest.MonkeyPatch, there: set[str], **told: str) -> dict[str, str]:
    monkeypatch.setattr(existing, "account_of", lambda _: "111122223333")
    for look in ("has_bucket", "_has_repository"):
        monkeypatch.setattr(existing, look, lambda _, name: name in there)
    return adopt(Cloud(), load_template(MAIN), "other", told)


def answer(*arns: str) -> dict[str, Any]:
    return {"ResourceTagMappingList": [{"ResourceARN": arn} for arn in arns]}


def test_what_carries_the_tags_of_the_stack_is_used_before_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arns = "arn:aws:s3:::ours", "arn:aws:ecr:us-west-2:111122223333:repository/team/images"
    with stubbed(monkeypatch, "resourcegroupstaggingapi") as stub:
        stub.add_response("get_resources", answer(*arns), ASKED)
        found = adopted(monkeypatch, {"ours", "team/images", DEFAULT, "glacierflow"})
    assert found == {"ExistingBucket": "ours", "ExistingRepository": "team/images"}


def test_without_tags_the_default_names_are_taken_and_given_names_win(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with stubbed(monkeypatch, "resourcegroupstaggingapi") as stub:
        stub.add_response("get_resources", answer(), ASKED)
        assert adopted(monkeypatch, {DEFAULT}) == {"ExistingBucket": DEFAULT}
        # nothing is left to be found, so nobody is asked
        given = {"BucketName": "mine", "RepositoryName": "images"}
        assert adopted(monkeypatch, {"mine", DEFAULT}, **given) == given | {"ExistingBucket": "mine"}


def test_no_permission_to_look_for_tags_says_what_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with stubbed(monkeypatch, "resourcegroupstaggingapi") as stub:
        stub.add_client_error("get_resources", "AccessDeniedException", http_status_code=400)
        with pytest.raises(UsageError, match="tag:GetResources") as refused:
            adopted(monkeypatch, {DEFAULT})
    assert "--set BucketName=NAME" in str(refused.value.next_step)
