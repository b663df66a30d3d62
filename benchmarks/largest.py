"""Peak memory in the largest regions, under the memory of a small child and under less.

    python benchmarks/largest.py [--archive DIR]

Eight acquisitions of each, of tiles that are empty away from the region: what is decoded, warped and written
is whole, what is fetched is less than of real ones. Not against a peer but against what each run was allowed;
exits 1 where one took more.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from measure import measure
from run import command_of, compile_kernels, make_archive, serve

REGIONS = ("090_petermann", "191_Hagen_Brae")
ALLOWED_MB = (7864, 2000, 1000)
"""The first is what job definitions of the small class allow."""
ACQUISITIONS = 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--archive", type=Path, help="directory of the archive; thrown away afterwards if not given"
    )
    given = parser.parse_args()
    compile_kernels()
    fine = True
    with tempfile.TemporaryDirectory(prefix="glacierflow-largest-") as scratch:
        archive = make_archive(given.archive or Path(scratch) / "archive", REGIONS, sparse=True)
        print("| region | allowed, MB | peak, MB | seconds |\n| --- | --- | --- | --- |")
        with serve(archive) as server:
            for region in REGIONS:
                for allowed in ALLOWED_MB:
                    out = Path(scratch) / str(allowed)
                    command = command_of("glacierflow", region, ACQUISITIONS, f"{server}/stac", out)
                    os.environ["GLACIERFLOW_MEMORY"] = f"{allowed}M"
                    found = measure(command, Path(scratch) / "log.txt", server, folder=Path(scratch))
                    print(
                        f"| {region} | {allowed:,} | {found.peak_mb:,.0f} | {found.wall_s:.1f} |", flush=True
                    )
                    fine = fine and found.peak_mb <= allowed
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
