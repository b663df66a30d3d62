"""The real Sentinel-2 images on a STAC API and a server of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from http_servers import Api, RangeServer
from samples import read_item, real_archive

REGION = "902_Berlin"
DATES = ("2016-05-01", "2016-06-30")


@dataclass
class RealStac:
    api: Api
    files: RangeServer

    @property
    def url(self) -> str:
        return self.api.url


@contextlib.contextmanager
def serve_real() -> Iterator[RealStac]:
    files, api = RangeServer(real_archive()), Api()
    for path in sorted((real_archive() / "sentinel-2-l2a").glob("*/*.json")):
        item = read_item(path)
        for asset in item["assets"].values():
            file = (path.parent / asset["href"]).relative_to(real_archive())
            asset["href"] = f"{files.url}/{file.as_posix()}"
        api.items.append(item)
    yield RealStac(api, files)
    for server in (api.server, files.server):
        server.shutdown()
        server.server_close()
