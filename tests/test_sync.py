"""Pushing settings and sources, checking the copy, pulling results: against moto's S3."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from moto import mock_aws
from product_trees import CATALOGUE, LANDSAT_STEM, our_tree, put
from samples import make_region

from glacierflow.aws.names import find_places
from glacierflow.cli.app import run
from glacierflow.cli.context import CommandLine, load_line
from glacierflow.cloud import Cloud
from glacierflow.errors import Finding, SettingsError, StoreError, UsageError
from glacierflow.host import MEMORY_CLASSES_MIB
from glacierflow.model.layout import Layout
from glacierflow.model.manifest import ArrayRange
from glacierflow.settings import load_settings
from glacierflow.step.sidecars import rebuild_tree
from glacierflow.store import LocalStore
from glacierflow.sync import check as check_module
from glacierflow.sync.check import check_copy
from glacierflow.sync.pull import PullPlan, plan_pull, pull
from glacierflow.sync.push import (
    PREFIX,
    ProjectFile,
    is_excluded,
    plan_push,
    project_files,
    push,
    read_settings_object,
)
from glacierflow.sync.remote import Bucket, RemoteFile

CLOUD = Cloud(embedded=True)
BASE = "1_download_merge_and_clip"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A versioned bucket."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    with mock_aws():
        client = CLOUD.client("s3")
        client.create_bucket(Bucket="made-up", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        client.put_bucket_versioning(Bucket="made-up", VersioningConfiguration={"Status": "Enabled"})
        yield client


@pytest.fixture
def bucket(s3: Any) -> Bucket:
    return Bucket("made-up", CLOUD)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "checkout"
    contents = {
        "config.ini": "[SETTINGS]\nsatellite = landsat\n",
        "aws_config.ini": "[STORAGE]\ns3_bucket = made-up\n",
        "pyproject.toml": "x",
        "README.md": "x",
        "glacierflow/task.py": "one",
        "glacierflow/__pycache__/task.cpython-311.pyc": "no",
        "batch/template.yaml": "x",
        "container/Dockerfile": "x",
        "container/certs/.gitignore": "*.crt",
        "container/certs/ca.crt": "no",
        ".ci/run": "x",
        ".dockerignore": "x",
        ".gitignore": "x",
        "ancillary/glacier_regions.gpkg": "x",
        "ancillary/Archive/old.gpkg": "no",
        "output/big.tif": "no source at all",
        ".git/HEAD": "no",
    }
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(root)
    return root


def files_of(root: Path) -> list[ProjectFile]:
    return project_files(root, config=root / "config.ini", aws_config=root / "aws_config.ini")


def keys(s3: Any) -> set[str]:
    return {item["Key"] for item in s3.list_objects_v2(Bucket="made-up").get("Contents", [])}


def test_only_sources_are_of_the_project_and_none_that_is_excluded(project: Path) -> None:
    assert [file.name for file in files_of(project)] == [
        ".ci/run",
        ".dockerignore",
        ".gitignore",
        "README.md",
        "ancillary/glacier_regions.gpkg",
        "aws/config/aws_config.ini",
        "batch/template.yaml",
        "config.ini",
        "container/Dockerfile",
        "container/certs/.gitignore",
        "glacierflow/task.py",
        "pyproject.toml",
    ]
    for name in (
        ".git/HEAD",
        "a/.git/objects/1",
        "a/b/__pycache__/x",
        "a/b.pyc",
        "aws/logs/x",
        "a/Archive/b/c",
        "container/certs/ca.crt",
    ):
        assert is_excluded(name), name
    assert not is_excluded("docs/Archives.md")


def test_only_what_git_tracks_is_pushed_and_nothing_that_looks_like_a_secret(project: Path) -> None:
    shutil.rmtree(project / ".git")
    git = ["git", "-c", "init.defaultBranch=main", "-c", "safe.directory=*"]
    secrets = ("glacierflow/id_rsa", "docs/.env", "docs/AWS-Credentials.json", "batch/server.KEY")
    for name in (*secrets, "docs/page.md", "docs/untracked.md"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("x")
    outside = project.parent / "passwords"
    outside.write_text("x")
    (project / "docs/link.md").symlink_to(outside)
    (project / "tests").symlink_to(project.parent)
    before = {file.name for file in files_of(project)}
    assert "docs/untracked.md" in before, "without git all sources are taken"
    subprocess.run([*git, "init", "-q"], cwd=project, check=True)
    subprocess.run([*git, "add", "--all", "--force"], cwd=project, check=True)
    subprocess.run([*git, "rm", "-q", "--cached", "docs/untracked.md"], cwd=project, check=True)
    after = {file.name for file in files_of(project)}
    assert before - after == {"docs/untracked.md"}
    assert "docs/page.md" in after
    assert not [name for name in before if name in secrets or "link" in name or name.startswith("tests/")]


def test_every_tracked_file_of_this_checkout_is_of_the_project() -> None:
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        pytest.skip("this is no checkout: which files are tracked, only git knows")
    # also where the checkout is another user's, as in a container
    git = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(git, cwd=root, check=True, capture_output=True, text=True)
    tracked = {name for name in listed.stdout.split("\0") if name and not is_excluded(name)}
    assert tracked - {file.name for file in files_of(root)} == {"aws_config.ini"}, "which has another name"


def test_a_push_uploads_only_what_changed(project: Path, s3: Any, bucket: Bucket) -> None:
    told: list[str] = []
    push(plan_push(files_of(project), bucket), bucket, delete=False, tell=told.append)
    assert keys(s3) == {file.key for file in files_of(project)}
    assert told[-1].endswith("config.ini"), "settings come last"
    assert plan_push(files_of(project), bucket).changed == ()
    (project / "glacierflow/task.py").write_text("two")  # as long as before
    plan = plan_push(files_of(project), bucket)
    assert [file.name for file in plan.changed] == ["glacierflow/task.py"]
    assert plan.unchanged == len(files_of(project)) - 1


def test_content_is_told_by_the_checksum_kept_with_it_where_the_etag_is_no_md5(
    s3: Any, bucket: Bucket, tmp_path: Path
) -> None:
    here = tmp_path / "file"
    here.write_bytes(b"content")
    bucket.put("ours", b"content")
    s3.put_object(Bucket="made-up", Key="amazons", Body=b"content", ChecksumAlgorithm="SHA256")
    s3.put_object(Bucket="made-up", Key="others", Body=b"content")
    for key, known in (("ours", True), ("amazons", True), ("others", False)):
        assert bucket.holds(RemoteFile(key, 7, "0" * 32), here) is known, key
    here.write_bytes(b"contenT")
    assert not bucket.holds(RemoteFile("ours", 7, "0" * 32), here)


def test_push_on_the_command_line(project: Path, s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sync", "push", "--dry-run"]) == 0
    assert "12 to upload, 0 unchanged" in capsys.readouterr().out
    assert keys(s3) == set()
    assert run(["sync", "push"]) == 0
    assert "12 uploaded" in capsys.readouterr().out
    s3.put_object(Bucket="made-up", Key=f"{PREFIX}glacierflow/old.py", Body=b"")
    assert run(["sync", "push"]) == 0
    assert "1 objects have no file here" in capsys.readouterr().out
    assert run(["sync", "push", "--delete"]) == 0
    assert f"{PREFIX}glacierflow/old.py" not in keys(s3)


def test_the_bucket_is_that_of_the_stack_where_none_is_set(
    project: Path, s3: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("glacierflow.aws.names._outputs", lambda *_: ({"Bucket": "of-the-stack"}, None))
    (project / "aws_config.ini").write_text("[STORAGE]\ns3_bucket =\n")
    s3.create_bucket(Bucket="of-the-stack", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    assert run(["sync", "push"]) == 0
    assert "s3://of-the-stack/" in capsys.readouterr().out
    assert keys(s3) == set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--project", ".."], "there is no ../config.ini to push"),
        (["--config", "s3://made-up/config.ini"], "is in S3 already"),
        (["--s3-bucket", "other"], "NoSuchBucket"),
    ],
)
def test_a_push_that_cannot_be_says_why(
    project: Path, s3: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(["sync", "push", *arguments]) == 64
    assert said in capsys.readouterr().err


def test_a_folder_that_is_no_checkout_is_refused(project: Path) -> None:
    (project / "pyproject.toml").unlink()
    with pytest.raises(UsageError, match="is no checkout"):
        files_of(project)


class FakeFunction:
    """Lambda and IAM of a function whose role may, or may not, read the copy."""

    def __init__(self, cloud: Cloud, decision: str) -> None:
        self._cloud, self._decision = cloud, decision
        self.embedded = decision == "embedded"

    def client(self, service: str) -> Any:
        return self if service in {"lambda", "iam"} else self._cloud.client(service)

    def get_function(self, **_: Any) -> Any:
        if self._decision == "missing":
            error: Any = {"Error": {"Code": "ResourceNotFoundException", "Message": "no such function"}}
            raise ClientError(error, "GetFunction")
        return {"Configuration": {"Role": "arn:aws:iam::123456789012:role/f"}}

    def simulate_principal_policy(self, **asked: Any) -> Any:
        assert not self.embedded
        if self._decision == "garbled":
            raise ResponseParserError("invalid XML received")
        # two files alone are what a narrow policy allows: fnmatch's star is IAM's
        allowed = {"allowed": "*", "narrow": "*config.ini"}.get(self._decision, "")
        results = [
            {"EvalResourceName": arn, "EvalDecision": "allowed" if fnmatch(arn, allowed) else "implicitDeny"}
            for arn in asked["ResourceArns"]
        ]
        return {"EvaluationResults": results}


def check(project: Path, bucket: Bucket, decision: str = "allowed") -> dict[str, Finding]:
    cloud: Any = FakeFunction(CLOUD, decision)
    return {item.name: item for item in check_copy(files_of(project), bucket, cloud, function_name="f")}


def test_the_checklist_finds_each_fault_and_nothing_in_a_good_copy(
    project: Path, s3: Any, bucket: Bucket
) -> None:
    push(plan_push(files_of(project), bucket), bucket, delete=False, tell=lambda _: None)
    assert {item.verdict for item in check(project, bucket).values()} == {"ok"}
    faults = {
        "settings in force": ("config.ini", b"stale"),
        "project sources": ("glacierflow/task.py", b"stale"),
        "ancillary data": ("ancillary/glacier_regions.gpkg", None),
        "no excluded files": ("container/certs/ca.crt", b""),
        "nothing left over": ("glacierflow/gone.py", b""),
    }
    for name, (path, content) in faults.items():
        before = s3.list_object_versions(Bucket="made-up", Prefix=f"{PREFIX}{path}").get("Versions")
        if content is None:
            s3.delete_object(Bucket="made-up", Key=f"{PREFIX}{path}")
        else:
            s3.put_object(Bucket="made-up", Key=f"{PREFIX}{path}", Body=content)
        found = check(project, bucket)
        assert [item.name for item in found.values() if item.verdict == "problem"] == [name]
        assert path in found[name].text
        assert found[name].next_step
        push(plan_push(files_of(project), bucket), bucket, delete=True, tell=lambda _: None)
        assert before is None or f"{PREFIX}{path}" in keys(s3)


def test_whatever_a_push_would_upload_is_a_problem_of_its_copy(
    project: Path, s3: Any, bucket: Bucket
) -> None:
    push(plan_push(files_of(project), bucket), bucket, delete=False, tell=lambda _: None)
    for file in files_of(project):
        good = s3.get_object(Bucket="made-up", Key=file.key)
        s3.put_object(Bucket="made-up", Key=file.key, Body=b"stale")
        text = "; ".join(item.text for item in check(project, bucket).values() if item.verdict == "problem")
        assert text == f"different from here: {file.name}"
        s3.delete_object(Bucket="made-up", Key=file.key)
        text = "; ".join(item.text for item in check(project, bucket).values() if item.verdict == "problem")
        assert text == f"missing: {file.name}"
        bucket.put(file.key, good["Body"].read())


def test_the_copys_function_is_the_one_that_the_stack_made(
    project: Path, s3: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = SimpleNamespace(outputs={"FunctionName": "of-the-stack"})
    monkeypatch.setattr("glacierflow.launch.lambda_.describe", lambda *_: stack)
    run(["sync", "verify"])
    assert "there is no function of-the-stack" in capsys.readouterr().out

    def unanswered(*_: object) -> None:
        raise UsageError("you are not allowed to describe the stack")

    monkeypatch.setattr("glacierflow.launch.lambda_.describe", unanswered)
    run(["sync", "verify"])
    assert "there is no function glacierflow-lambda" in capsys.readouterr().out


def test_what_lambda_may_read_is_asked_of_iam(project: Path, bucket: Bucket) -> None:
    push(plan_push(files_of(project), bucket), bucket, delete=False, tell=lambda _: None)
    denied = check(project, bucket, "implicitDeny")["readable by Lambda"]
    assert denied.verdict == "problem"
    assert "role/f may not read" in denied.text
    narrow = check(project, bucket, "narrow")["readable by Lambda"]
    assert (narrow.verdict, narrow.text) == (
        "problem",
        f"arn:aws:iam::123456789012:role/f may not read arn:aws:s3:::made-up/{PREFIX}*",
    )
    assert check(project, bucket, "missing")["readable by Lambda"].verdict == "unknown"
    garbled = check(project, bucket, "garbled")["readable by Lambda"]
    assert (garbled.verdict, garbled.text) == (
        "unknown",
        "IAM's simulation gave no answer that AWS would give",
    )
    unasked = check(project, bucket, "embedded")["readable by Lambda"]
    assert (unasked.verdict, unasked.text) == ("unknown", "the embedded cloud's IAM simulates nothing")


def test_verify_leaves_with_0_1_or_2(
    project: Path, s3: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["sync", "verify"]) == 1
    assert "run `glacierflow sync push`" in capsys.readouterr().out
    assert run(["sync", "push"]) == 0
    assert run(["sync", "verify"]) == 2, "there is no function to ask"
    capsys.readouterr()
    monkeypatch.setattr("glacierflow.sync.check._readable", lambda *_: Finding("r", "ok", "fine"))
    monkeypatch.setattr(check_module, "check_revision", lambda *_: [Finding("i", "ok", "fine")])
    assert run(["sync", "verify", "--json"]) == 0
    assert {item["verdict"] for item in json.loads(capsys.readouterr().out)} == {"ok"}


RESULTS = {
    f"{BASE}/sentinel2/clipped/134_Arsuk/a.tif": b"one",
    f"{BASE}/sentinel2/download/2024/134_Arsuk/a_B08.tif": b"window",
    f"{BASE}/sentinel2/metadata/combined_csv/134_Arsuk.csv": b"0,1",
    f"{BASE}/sentinel2/clipped/002_other/a.tif": b"other",
    f"{BASE}/landsat/134_Arsuk/b_ortho.tif": b"two",
    f"{BASE}/landsat/_reference/134_Arsuk_stac_query_results.csv": b"id",
    f"{BASE}/stac/landsat/134_Arsuk/b.json": b"{}",
    f"{BASE}/stac/sentinel2/134_Arsuk/a.json": b"{}",
    f"{BASE}/stac/sentinel2/002_other/a.json": b"{}",
    f"{BASE}/stac/collections/landsat/134_Arsuk.json": b"{}",
    f"{BASE}/stac/collections/sentinel2/134_Arsuk.json": b"{}",
    f"{BASE}/stac/collections/sentinel2/002_other.json": b"{}",
    f"{BASE}/stac/catalog.json": b"{}",
    "runs/x/manifest.json": b"{}",
}


@pytest.fixture
def results(s3: Any) -> Any:
    for key, content in RESULTS.items():
        s3.put_object(Bucket="made-up", Key=key, Body=content)
    return s3


def planned(bucket: Bucket, folder: Path, **more: Any) -> PullPlan:
    choice: dict[str, Any] = {
        "satellites": ("sentinel2", "landsat"),
        "regions": ["134_Arsuk"],
        "downloads": True,
    } | more
    return plan_pull(bucket, Layout(BASE), folder, **choice)


def test_a_pull_takes_a_regions_files_and_goes_on_where_it_stopped(
    results: Any, bucket: Bucket, tmp_path: Path
) -> None:
    plan = planned(bucket, tmp_path)
    wanted = sorted(key for key in RESULTS if "134_Arsuk" in key)
    assert sorted(file.key for file in plan.missing) == wanted
    assert pull(plan.missing[:2], bucket, tmp_path, lambda _: None) == []
    again = planned(bucket, tmp_path)
    assert again.complete == 2
    assert pull(again.missing, bucket, tmp_path, lambda _: None) == []
    assert {key: (tmp_path / key).read_bytes() for key in wanted} == {key: RESULTS[key] for key in wanted}
    assert not list(tmp_path.rglob(".part-*"))


def test_a_pull_can_be_of_one_satellite_and_without_downloads(
    results: Any, bucket: Bucket, tmp_path: Path
) -> None:
    narrow = planned(bucket, tmp_path, satellites=("sentinel2",), downloads=False)
    assert [file.key.removeprefix(f"{BASE}/") for file in narrow.missing] == [
        "sentinel2/clipped/134_Arsuk/a.tif",
        "sentinel2/metadata/combined_csv/134_Arsuk.csv",
        "stac/sentinel2/134_Arsuk/a.json",
        "stac/collections/sentinel2/134_Arsuk.json",
    ]
    everything = planned(bucket, tmp_path, regions=None)
    left = RESULTS.keys() - {file.key for file in everything.missing}
    assert left == {"runs/x/manifest.json", f"{BASE}/stac/catalog.json"}


@pytest.mark.parametrize(
    ("more", "collections"),
    [
        ([], ["landsat/134_Arsuk", "landsat/900_test", "sentinel2/900_test"]),
        (["--regions", "900_test"], ["landsat/900_test", "sentinel2/900_test"]),
        (["--satellite", "sentinel2", "--exclude-downloads"], ["sentinel2/900_test"]),
    ],
)
def test_what_was_pulled_passes_our_own_check_and_its_stac_tree_is_whole(
    more: list[str],
    collections: list[str],
    project: Path,
    s3: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = our_tree(tmp_path / "tree")
    other = make_region("134_Arsuk", ("22WEB",), (-207000, -2298000, -206400, -2297100))
    put(tree / f"{BASE}/stac/landsat/134_Arsuk/{LANDSAT_STEM}.json", "{}")
    rebuild_tree(LocalStore(tree), Layout(BASE), "landsat", other)
    for path in (path for path in tree.rglob("*") if path.is_file()):
        s3.put_object(Bucket="made-up", Key=path.relative_to(tree).as_posix(), Body=path.read_bytes())
    monkeypatch.setenv("GLACIERFLOW_LOCAL_BASE_DIR", "here")
    regions = ["--regions-file", "regions.csv"]
    Path("regions.csv").write_text(CATALOGUE)
    assert run(["sync", "pull", *more, *regions]) == 0
    assert run(["check", "here", *regions]) == 0
    stac = Path("here") / BASE / "stac"
    links = json.loads((stac / "catalog.json").read_text())["links"]
    found = sorted(stac / link["href"] for link in links if link["rel"] == "child")
    assert found == [stac / "collections" / f"{name}.json" for name in collections]
    for path in found:
        items = [link["href"] for link in json.loads(path.read_text())["links"] if link["rel"] == "item"]
        assert items
        assert all((path.parent / href).is_file() for href in items)


def test_a_file_that_differs_is_left_unless_told(
    results: Any, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GLACIERFLOW_LOCAL_BASE_DIR", "here")
    arguments = ["sync", "pull", "--regions", "134_Arsuk", "--satellite", "landsat"]
    assert run([*arguments, "--dry-run"]) == 0
    assert "4 to fetch" in capsys.readouterr().out
    assert not Path("here").exists()
    assert run(arguments) == 0
    assert "bytes" in capsys.readouterr().err
    assert run(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out == "0 fetched, 4 were complete in here\n"
    assert captured.err == "", "no bar of nothing"
    mine = Path("here") / f"{BASE}/landsat/134_Arsuk/b_ortho.tif"
    mine.write_bytes(b"TWO")
    assert run(arguments) == 1
    assert "--force-overwrite" in capsys.readouterr().err
    assert mine.read_bytes() == b"TWO"
    assert run([*arguments, "--force-overwrite"]) == 0
    assert mine.read_bytes() == b"two"


def test_a_download_that_fails_leaves_nothing_and_is_named(
    results: Any, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(bucket, tmp_path)
    honest = bucket.download

    def breaks(remote: RemoteFile, aside: Path) -> None:
        honest(remote, aside)
        if remote.key.endswith("b_ortho.tif"):
            raise StoreError("the line went dead")

    monkeypatch.setattr(bucket, "download", breaks)
    failed = pull(plan.missing, bucket, tmp_path, lambda _: None)
    assert [(file.key.rpartition("/")[2], why) for file, why in failed] == [
        ("b_ortho.tif", "the line went dead")
    ]
    assert [file.key for file in planned(bucket, tmp_path).missing] == [failed[0][0].key]


def test_an_object_shorter_than_promised_is_an_error(results: Any, bucket: Bucket, tmp_path: Path) -> None:
    promised = RemoteFile(f"{BASE}/landsat/134_Arsuk/b_ortho.tif", 4, "")
    with pytest.raises(StoreError, match="3 bytes arrived, 4 were expected"):
        bucket.download(promised, tmp_path / "aside")


def test_a_download_with_another_checksum_than_the_objects_is_an_error(
    s3: Any, bucket: Bucket, tmp_path: Path
) -> None:
    s3.put_object(Bucket="made-up", Key="amazons", Body=b"content", ChecksumAlgorithm="SHA256")
    s3.put_object(Bucket="made-up", Key="others", Body=b"content")
    bucket.put("ours", b"content")
    honest = bucket._client.download_file

    def flips(name: str, key: str, path: str) -> None:
        honest(name, key, path)
        Path(path).write_bytes(b"contenT")

    for key in ("ours", "amazons"):
        bucket.download(RemoteFile(key, 7, "0" * 32), tmp_path / key)
    bucket.download(RemoteFile("others", 7, "0" * 32), tmp_path / "others")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bucket._client, "download_file", flips)
        for key in ("ours", "amazons"):
            with pytest.raises(StoreError, match=f"{key}: what arrived has another SHA-256"):
                bucket.download(RemoteFile(key, 7, "0" * 32), tmp_path / key)


def test_an_object_that_was_deleted_since_the_listing_does_not_end_a_pull(
    results: Any, bucket: Bucket, tmp_path: Path
) -> None:
    plan = planned(bucket, tmp_path)
    gone, *rest = plan.missing
    results.delete_object(Bucket="made-up", Key=gone.key)
    failed = pull(plan.missing, bucket, tmp_path, lambda _: None)
    assert [(file.key, why) for file, why in failed] == [(gone.key, f"there is no s3://made-up/{gone.key}")]
    assert all((tmp_path / file.key).is_file() for file in rest)


def test_a_consoles_marker_of_a_folder_is_no_file(results: Any, bucket: Bucket, tmp_path: Path) -> None:
    for folder in (f"{BASE}/landsat/", f"{BASE}/landsat/134_Arsuk/"):
        results.put_object(Bucket="made-up", Key=folder, Body=b"")
    plan = planned(bucket, tmp_path)
    assert pull(plan.missing, bucket, tmp_path, lambda _: None) == []
    assert (tmp_path / f"{BASE}/landsat/134_Arsuk/b_ortho.tif").read_bytes() == b"two"


def test_settings_in_s3_are_known_by_hash_and_version(project: Path, s3: Any) -> None:
    content = b"[SETTINGS]\nsatellite = landsat\n"
    version = s3.put_object(Bucket="made-up", Key="c/config.ini", Body=content)["VersionId"]
    loaded = load_line(CommandLine(config="s3://made-up/c/config.ini", quiet=True))
    assert loaded.settings.settings.satellite == "landsat"
    assert loaded.origins["SETTINGS.satellite"] == "s3://made-up/c/config.ini"
    assert loaded.source is not None
    assert loaded.source.sha256 == hashlib.sha256(content).hexdigest()
    assert loaded.source.version_id == version


@pytest.mark.parametrize(
    ("uri", "content", "error", "said"),
    [
        ("s3://made-up/gone.ini", None, UsageError, "there is no s3://made-up/gone.ini"),
        ("s3://made-up", None, UsageError, "names a bucket"),
        (
            "s3://made-up/page.ini",
            b"<html></html>",
            SettingsError,
            "s3://made-up/page.ini is not an INI file",
        ),
        ("s3://made-up/bytes.ini", b"\xff\xfe\x00", SettingsError, "is not a text file"),
    ],
)
def test_settings_in_s3_that_cannot_be_used_are_refused(
    s3: Any, uri: str, content: bytes | None, error: type[Exception], said: str
) -> None:
    if content is not None:
        s3.put_object(Bucket="made-up", Key=uri.removeprefix("s3://made-up/"), Body=content)
    with pytest.raises(error, match=said):
        read_settings_object(uri, CLOUD)


def test_the_manifest_says_which_settings_a_run_used(
    project: Path, s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    s3.put_object(Bucket="made-up", Key="config.ini", Body=b"[REGIONS]\nregions = 134_Arsuk\n")
    assert run(["batch", "submit", "--dry-run", "--json", "--config", "s3://made-up/config.ini"]) == 0
    source = json.loads(capsys.readouterr().out)["manifest"]["settings_source"]
    assert source["uri"] == "s3://made-up/config.ini"
    assert source["version_id"]


HERE, THERE = "a" * 40, "b" * 40


@pytest.mark.parametrize(
    ("tags", "here", "verdict"),
    [
        (["0.1.0-" + HERE[:12]], HERE, "ok"),
        (["0.1.0-" + THERE[:12], "latest"], HERE, "problem"),
        (["latest"], HERE, "unknown"),
        (["0.1.0-" + HERE[:12]], "unknown", "unknown"),
    ],
)
def test_an_image_of_another_commit_is_seen(
    tags: list[str], here: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Images(monkeypatch, here)
    registry.tags["small"] = tags
    registry.of_batch = dict.fromkeys(MEMORY_CLASSES_MIB, "small")
    assert [item.verdict for item in registry.check()] == [verdict]


def test_the_images_of_every_service_and_memory_class_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Images(monkeypatch, HERE)
    registry.tags = {
        "good": ["0.1.0-" + HERE[:12]],
        "good-lambda": [f"0.1.0-{HERE[:12]}-lambda"],
        "old": ["0.1.0-" + THERE[:12]],
        "old-lambda": [f"0.1.0-{THERE[:12]}-lambda"],
    }
    registry.of_batch = dict.fromkeys(MEMORY_CLASSES_MIB, "good")
    registry.of_lambda, registry.of_ecs = "good-lambda", "good"
    assert [(item.name, item.verdict) for item in registry.check()] == [
        ("image of AWS Batch in step", "ok"),
        ("image of Lambda in step", "ok"),
        ("image of ECS in step", "ok"),
    ]
    registry.of_batch[max(MEMORY_CLASSES_MIB)] = "old"
    registry.of_lambda, registry.of_ecs = "old-lambda", "old"
    found = [item for item in registry.check() if item.verdict != "ok"]
    assert [(item.name, item.verdict) for item in found] == [
        ("image of AWS Batch in step", "problem"),
        ("image of Lambda in step", "problem"),
        ("image of ECS in step", "problem"),
    ]
    assert "container build --target lambda" in str(found[1].next_step)
    assert all(THERE[:12] in item.text and HERE[:12] in item.text for item in found)


class Images:
    """A registry and what names its images; a service without an image is not deployed."""

    def __init__(self, patch: pytest.MonkeyPatch, here: str) -> None:
        self.tags: dict[str, list[str]] = {}
        self.of_batch: dict[int, str] = {}
        self.of_lambda: str | None = None
        self.of_ecs: str | None = None
        patch.setattr(check_module, "revision_of", lambda _: here)
        patch.setattr(check_module, "find_targets", lambda *_: self)
        patch.setattr(check_module, "describe", self.describe)
        patch.setattr(check_module, "function_name", lambda *_: "f")
        patch.setattr(
            check_module, "function_facts", lambda *_: SimpleNamespace(image=self.uri(str(self.of_lambda)))
        )
        patch.setattr(
            check_module, "find_cluster", lambda *_, **__: SimpleNamespace(image=self.uri(str(self.of_ecs)))
        )

    def check(self) -> list[Finding]:
        loaded, cloud = (
            load_settings(overrides={"STORAGE.s3_bucket": "made-up"}, environ={}),
            cast("Any", self),
        )
        return check_module.check_revision(Path(), cloud, loaded, find_places(loaded, None))

    def uri(self, name: str) -> str:
        return f"123456789012.dkr.ecr.us-west-2.amazonaws.com/{name}@sha256:{'c' * 64}"

    def image(self, array: ArrayRange) -> str:
        return self.uri(self.of_batch[array.memory_mib or 0])

    def describe(self, _: object, name: str) -> object:
        return {"glacierflow-lambda": self.of_lambda, "glacierflow-ecs": self.of_ecs}[name]

    def client(self, _: str) -> Images:
        return self

    def describe_images(self, **asked: Any) -> Any:
        assert asked["imageIds"] == [{"imageDigest": f"sha256:{'c' * 64}"}]
        return {"imageDetails": [{"imageTags": self.tags[asked["repositoryName"]]}]}
