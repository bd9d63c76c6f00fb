import pytest

from gateway.app import GatewaySettings
from shopkit.runtime.settings import load

URLS = {f"{name}_URLS": "http://a:8000" for name in ("ORDERS", "PAYMENTS", "NOTIFIER", "WEB")}


@pytest.mark.parametrize("urls", ["http://orders", "http://127.0.0.1:1,http://[::1]:2/", "http://a:8000,http://b"])
def test_several_base_urls_are_separated_by_commas(urls: str) -> None:
    assert load(GatewaySettings, URLS | {"ORDERS_URLS": urls, "BACKSTAGE_URLS": urls}).orders_urls == urls


@pytest.mark.parametrize(
    "urls", ["", "orders:8000", "https://orders", "http://a,,http://b", "http://a/api", "http://"]
)
def test_malformed_base_urls_are_refused(urls: str) -> None:
    with pytest.raises(SystemExit, match="ORDERS_URLS"):
        load(GatewaySettings, URLS | {"ORDERS_URLS": urls})


def test_backstage_urls_can_be_empty_but_not_malformed() -> None:
    assert load(GatewaySettings, URLS).backstage_urls == ""
    assert load(GatewaySettings, URLS | {"BACKSTAGE_URLS": ""}).backstage_urls == ""
    with pytest.raises(SystemExit, match="BACKSTAGE_URLS"):
        load(GatewaySettings, URLS | {"BACKSTAGE_URLS": "backstage:8000"})
