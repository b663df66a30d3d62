"""The two images, built once by the documented commands."""

from __future__ import annotations

import pytest

from container.engine import build, documented, require_engine


@pytest.fixture(scope="session")
def image() -> str:
    """The image of a child."""
    require_engine()
    build(documented("docker build --network host -f container/Dockerfile -t"))
    return "glacierflow"


@pytest.fixture(scope="session")
def lambda_image(image: str) -> str:
    """The image of the Lambda function."""
    build(documented("docker build --network host -f container/Dockerfile --target lambda"))
    return "glacierflow-lambda"
