from collections.abc import Generator
from pathlib import Path

import pytest

from tests.deploy.local import LocalShop
from tests.manifests import Manifest, build, install

OVERLAYS = ("small", "production")


@pytest.fixture(scope="session")
def overlays() -> dict[str, list[Manifest]]:
    """Returns the built manifests of each overlay."""
    install()
    return {overlay: build(overlay) for overlay in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest, overlays: dict[str, list[Manifest]]) -> list[Manifest]:
    return overlays[request.param]


@pytest.fixture
def production(overlays: dict[str, list[Manifest]]) -> list[Manifest]:
    return overlays["production"]


@pytest.fixture
def local_shop(tmp_path: Path) -> Generator[LocalShop]:
    shop = LocalShop(tmp_path / "shop")
    yield shop
    shop.run("clean")
