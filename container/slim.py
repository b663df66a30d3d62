"""Take out of an environment what a child never opens; run while the image is built.

python slim.py SITE_PACKAGES

Tests, sources to compile against, type stubs, debugging symbols, and botocore's descriptions of AWS services
that are not called.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

# Called by children: S3; AWS credentials need sts, sso and sso-oidc. The Lambda function also invokes itself.
SERVICES = {"lambda", "s3", "sso", "sso-oidc", "sts"}
ENDINGS = {".a", ".c", ".cpp", ".h", ".hpp", ".pxd", ".pyi", ".pyx"}
# Packages whose wheels hold 45 MB of debugging symbols. No others: strip damages libraries whose sections
# auditwheel has moved.
UNSTRIPPED = ("pyproj", "rasterio")
# numpy.testing, which others import at run time, takes this from numpy's own tests
NEEDED_TESTS = {"numpy/_core/tests/_natype.py", "numpy/_core/tests/__init__.py"}


def slim(site: Path) -> None:
    """Delete below ``site``."""
    for service in site.glob("boto*/data/*"):
        if service.is_dir() and service.name not in SERVICES:
            shutil.rmtree(service)
    for path in sorted(site.rglob("*")):
        inner = path.relative_to(site)
        unwanted = path.suffix in ENDINGS or "tests" in inner.parts[1:]
        if path.is_file() and unwanted and inner.as_posix() not in NEEDED_TESTS:
            path.unlink()
    for folder in sorted((path for path in site.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    extensions = [str(path) for package in UNSTRIPPED for path in (site / package).rglob("*.so")]
    if extensions:
        subprocess.run(["strip", "--strip-debug", *extensions], check=True)


if __name__ == "__main__":
    slim(Path(sys.argv[1]))
