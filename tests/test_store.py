from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from refusals import refusal

from glacierflow.cloud import Cloud
from glacierflow.errors import StoreError, UsageError
from glacierflow.store import LocalStore, S3Store, open_store, split_s3_uri


def test_what_was_put_is_got_listed_and_found(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("runs/b/2.json", b"two")
    store.put("runs/b/1.json", b"one")
    (tmp_path / "source.bin").write_bytes(b"file")
    store.put_file("runs/c.bin", tmp_path / "source.bin")
    assert [(entry.key, entry.size) for entry in store.list("runs/")] == [
        ("runs/b/1.json", 3),
        ("runs/b/2.json", 3),
        ("runs/c.bin", 4),
    ]
    assert [entry.key for entry in store.list("runs/b/1")] == ["runs/b/1.json"]
    assert store.get("runs/b/1.json") == b"one"
    assert store.get_head("runs/c.bin", 2) == b"fi"
    assert store.exists("runs/c.bin")
    assert not store.exists("runs/b")


def test_absent_objects_are_none(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert store.get("nothing") is None
    assert store.get_head("nothing", 10) is None
    assert not store.exists("nothing")
    assert list(store.list("nothing/")) == []


def test_a_conditional_put_does_not_replace(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert store.put("a/1", b"first", if_absent=True)
    assert not store.put("a/1", b"second", if_absent=True)
    assert store.get("a/1") == b"first"
    assert store.put("a/1", b"third")
    assert store.get("a/1") == b"third"


def test_nothing_half_written_is_left_or_listed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with pytest.raises(StoreError, match="cannot be written"):
        store.put_file("a/b.tif", tmp_path / "missing.tif")
    assert list(tmp_path.rglob("*.tif")) == []
    assert list(store.list("")) == []


def test_files_are_readable_by_others_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        LocalStore(tmp_path).put("x", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o644


def test_an_unwritable_directory_is_named_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"base_dir = .*file/below cannot be written"):
        LocalStore(tmp_path / "file" / "below").check_writable()


def test_a_directory_that_is_a_file_fails_plainly(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    store = LocalStore(tmp_path)
    with pytest.raises(StoreError):
        store.put("a/b", b"x")
    assert store.get("a/b") is None


def test_uris() -> None:
    assert split_s3_uri("s3://bucket/a/b.json") == ("bucket", "a/b.json")
    for wrong in ("s3://", "bucket/key", "https://bucket/key"):
        with pytest.raises(UsageError, match="s3://bucket/key"):
            split_s3_uri(wrong)


def test_a_path_opens_a_directory(tmp_path: Path) -> None:
    from glacierflow.cloud import Cloud

    assert open_store(str(tmp_path), Cloud()).uri("a") == str(tmp_path / "a")


def test_old_litter_of_killed_attempts_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    old, new, folder = tmp_path / "a/.part-old", tmp_path / "a/.part-new", tmp_path / "b/.part-folder"
    folder.mkdir(parents=True)
    (folder / "content").write_text("x")
    old.parent.mkdir()
    for path in (old, new, tmp_path / "a/image.tif", tmp_path / "a/.part-x.lock"):
        path.write_text("x")
    two_days_ago = time.time() - 2 * 24 * 3600
    for path in (old, folder, tmp_path / "a/image.tif", tmp_path / "a/.part-x.lock"):
        os.utime(path, (two_days_ago, two_days_ago))
    LocalStore(tmp_path).check_writable()
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "b", ".part-new", ".part-x.lock", "image.tif"}


class _Lossy:
    """An S3 client whose first put is done, and whose answer is lost."""

    def __init__(self, *, by_another: bool) -> None:
        self.by_another = by_another
        self.objects: dict[str, Any] = {}
        self.puts = 0

    def put_object(self, *, Key: str, IfNoneMatch: str, Metadata: Any, **_: Any) -> Any:  # noqa: N803
        assert IfNoneMatch == "*"
        self.puts += 1
        if Key in self.objects:
            raise refusal("PutObject", "PreconditionFailed", 412)
        self.objects[Key] = {"Metadata": {"glacierflow-put": "another's"} if self.by_another else Metadata}
        raise ReadTimeoutError(endpoint_url="http://made-up")

    def head_object(self, *, Key: str, **_: Any) -> Any:  # noqa: N803
        return self.objects[Key]


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("by_another", [False, True])
def test_a_conditional_put_whose_answer_was_lost_knows_its_own_record(
    by_another: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _Lossy(by_another=by_another)
    monkeypatch.setattr(Cloud, "client", lambda *_: client)
    assert S3Store("bucket", Cloud()).put("a", b"x", if_absent=True) is not by_another
    assert client.puts == 2
