"""Reading from a server that misbehaves: what can be recovered is, the rest is named, no pixel is wrong."""

from __future__ import annotations

import random
import struct
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exact import Tile
from isal import isal_zlib
from numpy.typing import NDArray
from range_faults import FaultyServer
from test_exact import PLACES, WIDE

from glacierflow.cloud import Cloud
from glacierflow.errors import CredentialsError, DataError, UnavailableError
from glacierflow.imagery.blocks import inflate
from glacierflow.imagery.geotiff import parse_geotiff
from glacierflow.imagery.mosaic import Imagery
from glacierflow.model.records import Scene, StepSettings

pytestmark = pytest.mark.usefixtures("waits")

TILE: Tile = PLACES["one tile"][0]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return TILE.write(tmp_path_factory.mktemp("tile") / "a.tif")


@pytest.fixture(scope="module")
def content(scene: Scene) -> bytes:
    return Path(scene.href).read_bytes()


@pytest.fixture(scope="module")
def right(scene: Scene) -> NDArray[np.uint16]:
    return Imagery(Cloud(), StepSettings()).mosaic([scene], WIDE)


@pytest.fixture
def serve(content: bytes) -> Iterator[Callable[..., FaultyServer]]:
    servers = []

    def start(
        plan: Callable[[int, int], Any] = lambda _n, _f: None, data: bytes | None = None
    ) -> FaultyServer:
        servers.append(FaultyServer({"a.tif": content if data is None else data}, plan))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def read(server: FaultyServer, scene: Scene, **settings: Any) -> tuple[NDArray[np.uint16], Imagery]:
    chosen = StepSettings(**{"request_attempts": 4, "request_timeout_s": 1.0} | settings)
    imagery = Imagery(Cloud(), chosen)
    try:
        return imagery.mosaic([scene.model_copy(update={"href": f"{server.url}/a.tif"})], WIDE), imagery
    finally:
        imagery.close()


FAULTS = ("drop", "cut", "drip", "another range", 429, 500, 503)


@pytest.mark.parametrize("fault", [*FAULTS, "stall"])
@pytest.mark.parametrize("number", [0, 1])
def test_one_fault_of_header_or_block_is_recovered(
    serve: Any, scene: Scene, right: NDArray[np.uint16], fault: Any, number: int
) -> None:
    server = serve(lambda n, _f: fault if n == number else None)
    image, imagery = read(server, scene)
    np.testing.assert_array_equal(image, right)
    assert imagery.requests == server.requests


def test_a_storm_of_faults_is_outlived(serve: Any, scene: Scene, right: NDArray[np.uint16]) -> None:
    chance = random.Random(1)  # noqa: S311 - no secret
    server = serve(lambda _n, _f: chance.choice([None, None, 503, "drop", "cut"]))
    image, imagery = read(server, scene, request_attempts=12)
    np.testing.assert_array_equal(image, right)
    assert imagery.requests == server.requests > 10


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (503, r"HTTP 503 SlowDown \(2 tries\)"),
        ("drop", r"\(2 tries\)"),
        ("cut", r"\(2 tries\)"),
        ("drip", r"not finished after 1 s \(2 tries\)|[Tt]imed out"),
        ("another range", r"the answer starts at"),
    ],
)
@pytest.mark.parametrize("where", ["header", "block"])
def test_what_stays_away_is_named_unavailable(
    serve: Any, scene: Scene, fault: Any, said: str, where: str
) -> None:
    server = serve(lambda _n, first: fault if (first == 0) == (where == "header") else None)
    with pytest.raises(UnavailableError, match=said) as failure:
        read(server, scene, request_attempts=2)
    assert f"{server.url}/a.tif could not be read: " in failure.value.message


def test_a_request_has_a_deadline_although_bytes_keep_dripping(serve: Any, scene: Scene) -> None:
    server = serve(lambda _n, _f: "drip")
    start = time.monotonic()
    with pytest.raises(UnavailableError):
        read(server, scene, request_attempts=1, request_timeout_s=0.5)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("where", ["header", "block"])
@pytest.mark.parametrize("fault", ["page", 404, 410, 400])
def test_wrong_content_is_that_images_failure(serve: Any, scene: Scene, fault: Any, where: str) -> None:
    server = serve(lambda _n, first: fault if (first == 0) == (where == "header") else None)
    with pytest.raises(DataError, match="could not be read"):
        read(server, scene)
    assert server.requests < 24, "asking a third time would not help"


@pytest.mark.parametrize("fault", [401, "denied"])
def test_a_refusal_is_believed_when_it_is_said_twice(serve: Any, scene: Scene, fault: Any) -> None:
    server = serve(lambda _n, _f: fault)
    with pytest.raises(CredentialsError, match=r"access was refused \(HTTP 40[13] "):
        read(server, scene)
    assert server.requests == 2


@pytest.mark.parametrize("fault", [401, "denied", "forbidden", "page", "whole file", "flipped", 404])
@pytest.mark.parametrize("number", [0, 1])
def test_one_odd_answer_is_asked_again(
    serve: Any, scene: Scene, right: NDArray[np.uint16], fault: Any, number: int
) -> None:
    image, _ = read(serve(lambda n, _f: fault if n == number else None), scene)
    np.testing.assert_array_equal(image, right)


def test_a_gateways_403_is_unavailable_in_the_end(serve: Any, scene: Scene) -> None:
    """AWS's gateways and archives behind them say so when they are asked too often."""
    server = serve(lambda _n, _f: "forbidden")
    with pytest.raises(UnavailableError, match=r"HTTP 403 \(4 tries\)"):
        read(server, scene)


def test_a_session_that_ended_is_a_refusal_where_nothing_renews_it(serve: Any, scene: Scene) -> None:
    server = serve(lambda _n, _f: "expired")
    with pytest.raises(CredentialsError, match=r"access was refused \(HTTP 400 ExpiredToken\)"):
        read(server, scene)
    assert server.requests == 1, "asking again would not help"


def test_a_clock_that_is_wrong_is_put_right_in_time(
    serve: Any, scene: Scene, right: NDArray[np.uint16]
) -> None:
    image, _ = read(serve(lambda n, _f: "skewed" if n < 3 else None), scene)
    np.testing.assert_array_equal(image, right)


def test_a_server_without_ranges_is_named(serve: Any, scene: Scene) -> None:
    with pytest.raises(DataError, match="does not answer with ranges"):
        read(serve(lambda _n, _f: "whole file"), scene)


@pytest.mark.parametrize("kept", [0, 3, 15, 40, 300, 1500, 60_000])
def test_a_truncated_image_is_bad_data(serve: Any, scene: Scene, content: bytes, kept: int) -> None:
    with pytest.raises(DataError, match="could not be read"):
        read(serve(data=content[:kept]), scene)


def test_no_flipped_byte_in_a_block_becomes_a_pixel(serve: Any, scene: Scene) -> None:
    with pytest.raises(DataError, match=r"block \(\d+, \d+\) (is corrupt|holds)"):
        read(serve(lambda _n, first: "flipped" if first else None), scene)


def test_an_image_that_changes_once_while_it_is_read_is_read_again(
    serve: Any, scene: Scene, right: NDArray[np.uint16]
) -> None:
    """The new file has its blocks elsewhere: mixing the two would give wrong pixels."""
    server: FaultyServer

    def plan(number: int, _first: int) -> None:
        if number == 2:
            server.etags["a.tif"] = '"new"'

    server = serve(plan)
    image, _ = read(server, scene)
    np.testing.assert_array_equal(image, right)


def test_an_image_that_keeps_changing_is_that_images_failure(serve: Any, scene: Scene) -> None:
    server: FaultyServer

    def plan(number: int, _first: int) -> None:
        server.etags["a.tif"] = f'"{number}"'

    server = serve(plan)
    with pytest.raises(DataError, match="changed on the server while it was read"):
        read(server, scene)


def test_connections_are_reused_and_every_byte_and_request_is_counted(
    serve: Any, scene: Scene, content: bytes
) -> None:
    server = serve()
    read(server, scene)
    before = server.requests
    _, imagery = read(server, scene)
    assert len(server.connections) < server.requests
    assert len(server.connections) <= before
    assert imagery.requests == server.requests - before
    wanted = [header["Range"].removeprefix("bytes=").split("-") for header in server.headers[before:]]
    sent = sum(min(int(last), len(content) - 1) - int(first) + 1 for first, last in wanted)
    assert imagery.bytes_read == sent


def test_a_redirect_to_another_host_is_followed(serve: Any, scene: Scene, right: NDArray[np.uint16]) -> None:
    there = serve()
    here = serve(lambda _n, _f: f"{there.url}/a.tif")
    image, _ = read(here, scene, request_attempts=1)
    np.testing.assert_array_equal(image, right)
    assert here.requests == there.requests > 1


@pytest.mark.parametrize(
    "to", ["http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/a", "file:///etc/passwd"]
)
def test_a_redirect_to_where_nobody_is_sent_is_not_followed(serve: Any, scene: Scene, to: str) -> None:
    server = serve(lambda _n, _f: to)
    with pytest.raises(DataError, match="not opened"):
        read(server, scene, request_attempts=1)


@pytest.mark.parametrize("address", ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"])
def test_where_clouds_hand_out_credentials_is_never_asked(scene: Scene, address: str) -> None:
    there = scene.model_copy(update={"href": f"http://{address}/a.tif"})
    with pytest.raises(DataError, match="which is not opened"):
        Imagery(Cloud(), StepSettings()).mosaic([there], WIDE)


def test_a_refusal_that_drips_has_the_requests_deadline(serve: Any, scene: Scene) -> None:
    server = serve(lambda _n, _f: "dripping")
    with pytest.raises(UnavailableError, match="not finished after"):
        read(server, scene, request_attempts=1, request_timeout_s=0.2)


def claims(content: bytes, change: str) -> bytes:
    """The image with something in its header, or in its blocks, that would take gigabytes."""
    data, tiff = bytearray(content), parse_geotiff(content)
    count, little = tiff.sizes.size, np.dtype("<u4")
    sizes = content.index(tiff.sizes.astype(little).tobytes())
    if change == "inflates":
        # every block is one that inflates to half a gigabyte
        bomb = zeros_packed(1 << 29)
        offsets = content.index(tiff.offsets.astype(little).tobytes())
        data[offsets : offsets + 4 * count] = np.full(count, len(data), little).tobytes()
        data[sizes : sizes + 4 * count] = np.full(count, len(bomb), little).tobytes()
        return bytes(data) + bomb
    if change == "takes more than its pixels":
        data[sizes : sizes + 4 * count] = np.full(count, 1 << 30, little).tobytes()
        return bytes(data)
    for tag in (322, 323):
        at = data.index(struct.pack("<HHI", tag, 3, 1))
        data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 60_000)
    for tag in (324, 325):
        at = data.index(struct.pack("<HHI", tag, 4, count))
        data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 1000)
    return bytes(data)


def zeros_packed(size: int) -> bytes:
    """A zlib stream of zeros."""
    packer = zlib.compressobj(1)
    parts = [packer.compress(bytes(1 << 24)) for _ in range(size >> 24)]
    return b"".join([*parts, packer.flush()])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("60,000 pixels", "blocks of 60000 x 60000 pixels are too large"),
        ("takes more than its pixels", "more than its pixels"),
        ("inflates", "is said to take"),
    ],
)
def test_what_a_file_claims_is_bounded_before_it_is_held(
    serve: Any, scene: Scene, content: bytes, change: str, said: str
) -> None:
    server = serve(data=claims(content, change))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=said):
            read(server, scene, request_timeout_s=60.0)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_a_block_that_inflates_to_half_a_gigabyte_is_stopped_where_it_should_end() -> None:
    bomb = zeros_packed(1 << 29)
    tracemalloc.start()
    try:
        assert len(inflate(bomb, 1 << 17)) == (1 << 17) + 1
        assert tracemalloc.get_traced_memory()[1] < 1e6 + len(bomb)
    finally:
        tracemalloc.stop()
    whole = zlib.compress(bytes(1 << 17))
    assert inflate(whole, 1 << 17) == bytes(1 << 17)
    for damaged in (whole[:-1], whole[:-4], whole[:9], whole[:-1] + bytes([whole[-1] ^ 1])):
        with pytest.raises(isal_zlib.error):  # type: ignore[call-overload]
            inflate(damaged, 1 << 17)


def test_redirects_in_a_circle_end(serve: Any, scene: Scene) -> None:
    server: FaultyServer

    def plan(_number: int, _first: int) -> str:
        return f"{server.url}/a.tif"

    server = serve(plan)
    with pytest.raises(UnavailableError, match="too many redirects"):
        read(server, scene, request_attempts=1)
    assert server.requests == 4


@pytest.mark.parametrize("fault", ["drop", 503])
def test_one_attempt_sends_one_request(serve: Any, scene: Scene, fault: Any) -> None:
    server = serve(lambda _n, _f: fault)
    with pytest.raises(UnavailableError):
        read(server, scene, request_attempts=1)
    assert server.requests == 1


def test_one_attempt_connects_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def refused(address: tuple[str, int], *_: Any, **__: Any) -> Any:
        tried.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("urllib3.util.connection.create_connection", refused)
    away = scene.model_copy(update={"href": "http://127.0.0.1:9/a.tif"})
    with pytest.raises(UnavailableError, match="Connection refused"):
        Imagery(Cloud(), StepSettings(request_attempts=1)).mosaic([away], WIDE)
    assert tried == ["127.0.0.1"]


def test_nobody_listening_is_unavailable(scene: Scene) -> None:
    away = scene.model_copy(update={"href": "http://127.0.0.1:9/a.tif"})
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9/a\.tif could not be read: "):
        Imagery(Cloud(), StepSettings(request_attempts=2)).mosaic([away], WIDE)


def test_a_reader_ends_although_its_pool_was_closed(serve: Any, scene: Scene) -> None:
    """What a pool drops when it is shut down, it tells nobody: who waits for it would wait forever."""
    asked = threading.Event()

    def plan(number: int, _first: int) -> Any:
        if number == 0:
            return None
        asked.set()
        return "stall"

    server = serve(plan)
    imagery = Imagery(Cloud(), StepSettings(request_attempts=1), requests_at_once=1)
    moved = scene.model_copy(update={"href": f"{server.url}/a.tif"})
    raised: list[str] = []

    def reading() -> None:
        try:
            imagery.mosaic([moved], WIDE)
        except UnavailableError as error:
            raised.append(error.message)

    reader = threading.Thread(target=reading, daemon=True)
    reader.start()
    assert asked.wait(30)
    imagery.close()
    server.release.set()
    reader.join(30)
    assert len(raised) == 1
