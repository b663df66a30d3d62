from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samples import real_archive
from werkzeug.serving import make_server

from glacierflow.errors import UsageError
from glacierflow.local.archive.files import Archive, asset_app, load_archive, merge

BASE = "http://127.0.0.1:1"


def write_item(folder: Path, name: str, assets: dict[str, Any], **more: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "c",
        "geometry": None,
        "properties": {"datetime": "2024-07-01T00:00:00Z"},
        "links": [],
        "assets": assets,
        **more,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(item))
    return path


def test_real_archive_has_its_items_files_and_requester_pays_keys() -> None:
    archive = load_archive(real_archive(), BASE + "/")
    assert archive.problems == ()
    assert len(archive.items) == 4
    assert len(archive.files) == 4
    for item in archive.items:
        for asset in item["assets"].values():
            path = asset["href"].removeprefix(f"{BASE}/archive/")
            assert archive.files[path].stat().st_size > 1_000_000
    landsat = {item["id"]: item for item in archive.items if item["collection"] == "landsat-c2l1"}
    assert len(archive.mounts) == len(landsat) == 2
    for bucket, key, file in archive.mounts:
        assert bucket == "usgs-landsat"
        asset = landsat[file.parent.name]["assets"]["pan"]
        assert asset["alternate"]["s3"]["href"] == f"s3://{bucket}/{key}"
        assert key.endswith(f"/{file.name}")


def test_main_s3_href_with_its_file_beside_is_mounted_and_others_stay_remote(tmp_path: Path) -> None:
    assets = {
        "here": {"href": "s3://bucket/some/key/a.tif"},
        "far": {"href": "s3://bucket/some/key/b.tif"},
        "web": {"href": "https://example.com/c.tif"},
    }
    write_item(tmp_path / "deep" / "er", "one", assets)
    (tmp_path / "deep" / "er" / "a.tif").write_bytes(b"a")
    archive = load_archive(tmp_path, BASE)
    assert archive.items[0]["assets"] == assets
    assert archive.mounts == (("bucket", "some/key/a.tif", (tmp_path / "deep/er/a.tif").resolve()),)
    assert archive.files == {}
    assert archive.problems == ()


def test_missing_file_is_told_and_keeps_its_place(tmp_path: Path) -> None:
    alternate = {"s3": {"href": "s3://b/gone.tif"}}
    write_item(tmp_path, "one", {"nir": {"href": "./gone.tif", "alternate": alternate}})
    archive = load_archive(tmp_path, BASE)
    assert archive.items[0]["assets"]["nir"]["href"] == f"{BASE}/archive/gone.tif"
    assert archive.files == {}
    assert archive.mounts == ()
    assert archive.problems == ("one.json: asset nir at ./gone.tif is not there",)


@pytest.mark.parametrize("href", ["../secret.tif", "/etc/passwd", "./%2e%2e/secret.tif", "link.tif"])
def test_paths_may_not_leave_the_directory(tmp_path: Path, href: str) -> None:
    (tmp_path / "secret.tif").write_bytes(b"secret")
    inside = tmp_path / "archive"
    write_item(inside, "one", {"nir": {"href": href}})
    (inside / "link.tif").symlink_to(tmp_path / "secret.tif")
    archive = load_archive(inside, BASE)
    assert archive.items[0]["assets"] == {}
    assert archive.files == {}
    assert len(archive.problems) == 1
    assert "outside the archive" in archive.problems[0]


def test_other_json_is_passed_over_and_broken_items_are_told(tmp_path: Path) -> None:
    write_item(tmp_path, "good", {})
    write_item(tmp_path, "homeless", {}, collection=None)
    (tmp_path / "list.json").write_text("[1, 2]")
    write_item(tmp_path, ".part-good", {})
    (tmp_path / "plain.json").write_text('{"type": "Feature", "geometry": null}')
    (tmp_path / "broken.json").write_text("{")
    write_item(tmp_path, "no_href", {"nir": {}})
    write_item(tmp_path, "bad_key", {"nir": {"href": "x.tif", "alternate": {"s3": {"href": "https://x"}}}})
    (tmp_path / "x.tif").write_bytes(b"x")
    archive = load_archive(tmp_path, BASE)
    assert sorted(item["id"] for item in archive.items) == ["bad_key", "good", "no_href"]
    told = "\n".join(archive.problems)
    assert len(archive.problems) == 4
    assert "broken.json is not readable JSON" in told
    assert "homeless.json is no usable STAC item: collection missing" in told
    assert "no_href.json: asset nir has no href" in told
    assert "https://x is not of the form s3://bucket/key" in told


def test_no_archive_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a directory"):
        load_archive(tmp_path / "none", BASE)
    with pytest.raises(UsageError, match="holds no STAC item"):
        load_archive(tmp_path, BASE)


def test_merge_keeps_prefixed_directories_apart_and_refuses_a_clash(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_item(tmp_path / name, name, {"nir": {"href": "x y.tif"}})
        (tmp_path / name / "x y.tif").write_text(name)
    write_item(tmp_path / "b", "a", {})
    first, second = load_archive(tmp_path / "a", BASE), load_archive(tmp_path / "b", BASE, prefix="2")
    both = merge([first, second])
    assert {path: file.read_text() for path, file in both.files.items()} == {"x y.tif": "a", "2/x y.tif": "b"}
    hrefs = {item["id"]: item["assets"]["nir"]["href"] for item in both.items}
    assert hrefs == {"a": f"{BASE}/archive/x%20y.tif", "b": f"{BASE}/archive/2/x%20y.tif"}
    assert both.problems == ("item a of c is there more than once; the first is served",)
    with pytest.raises(UsageError, match=r"two archives have a file for the path x y\.tif"):
        merge([first, load_archive(tmp_path / "b", BASE)])


def test_a_scene_that_two_archives_mount_is_served_from_the_first(tmp_path: Path) -> None:
    for name in ("a", "b"):
        s3 = {"href": "s3://usgs-landsat/scene.TIF"}
        write_item(tmp_path / name, "scene", {"pan": {"href": "scene.TIF", "alternate": {"s3": s3}}})
        (tmp_path / name / "scene.TIF").write_text(name)
    archives = [load_archive(tmp_path / "b", BASE, prefix="1/"), load_archive(tmp_path / "a", BASE)]
    both = merge(archives)
    assert [(bucket, key, file.read_text()) for bucket, key, file in both.mounts] == [
        ("usgs-landsat", "scene.TIF", "b")
    ]
    assert "s3://usgs-landsat/scene.TIF is there more than once; the first is served" in both.problems


CONTENT = bytes(range(256)) * 4000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tmp_path = tmp_path_factory.mktemp("served")
    (tmp_path / "dir").mkdir()
    file = tmp_path / "dir" / "a b.tif"
    file.write_bytes(CONTENT)
    (tmp_path / "private.tif").write_bytes(b"no")
    files = {"dir/a b.tif": file, "gone.tif": tmp_path / "gone.tif"}
    server = make_server("127.0.0.1", 0, asset_app(Archive((), files)), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def ask(url: str, wanted: str = "", method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, method=method, headers={"Range": wanted} if wanted else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


@pytest.mark.parametrize(
    ("wanted", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-300000", 10, 300_001),
        ("bytes=1023990-", 1_023_990, 1_024_000),
        ("bytes=-7", 1_023_993, 1_024_000),
        ("bytes=-9999999", 0, 1_024_000),
        ("bytes=5-99999999", 5, 1_024_000),
    ],
)
def test_one_range_is_partial_content(served: str, wanted: str, first: int, end: int) -> None:
    status, headers, body = ask(f"{served}/dir/a%20b.tif", wanted)
    assert status == 206
    assert headers["Content-Range"] == f"bytes {first}-{end - 1}/1024000"
    assert headers["Content-Length"] == str(end - first)
    assert body == CONTENT[first:end]


@pytest.mark.parametrize("wanted", ["", "bytes=9-3", "bytes=0-1,5-6", "pages=1-2", "bytes=-"])
def test_no_usable_range_is_the_whole_file(served: str, wanted: str) -> None:
    status, headers, body = ask(f"{served}/dir/a%20b.tif", wanted)
    assert (status, body) == (200, CONTENT)
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Content-Type"] == "image/tiff"
    assert "Content-Range" not in headers


@pytest.mark.parametrize("wanted", ["bytes=1024000-", "bytes=2000000-2000001", "bytes=-0"])
def test_range_beyond_the_end_is_416(served: str, wanted: str) -> None:
    status, headers, body = ask(f"{served}/dir/a%20b.tif", wanted)
    assert (status, body) == (416, b"")
    assert headers["Content-Range"] == "bytes */1024000"


def test_head_tells_the_size_and_sends_nothing(served: str) -> None:
    status, headers, body = ask(f"{served}/dir/a%20b.tif", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "1024000", b"")
    status, headers, body = ask(f"{served}/dir/a%20b.tif", "bytes=1-2", method="HEAD")
    assert (status, headers["Content-Length"], body) == (206, "2", b"")


@pytest.mark.parametrize("path", ["/private.tif", "/dir", "/", "/gone.tif", "/dir/../private.tif"])
def test_only_the_archives_files_are_served(served: str, path: str) -> None:
    assert ask(served + path)[0] == 404


def test_other_methods_are_refused(served: str) -> None:
    status, headers, _ = ask(f"{served}/dir/a%20b.tif", method="POST")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
