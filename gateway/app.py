"""The wiring of the gateway."""

from gateway.openapi import Documents, openapi
from gateway.proxy import Client
from gateway.routes import proxies
from gateway.upstreams import Upstream
from shopkit.service import Service
from shopkit.settings import Settings, load


class GatewaySettings(Settings, frozen=True, kw_only=True):
    """Base URLs, separated by commas; a name stands for every address that it resolves to."""

    orders_urls: str
    payments_urls: str
    notifier_urls: str
    web_urls: str


def build(settings: GatewaySettings) -> Service:
    client = Client()
    upstreams = {
        "orders": Upstream("orders", settings.orders_urls),
        "payments": Upstream("payments", settings.payments_urls),
        "notifier": Upstream("notifier", settings.notifier_urls),
        "web": Upstream("web", settings.web_urls),
    }
    described = [upstreams[name] for name in ("orders", "payments", "notifier")]
    documents = Documents(client, described)
    return Service(
        "gateway",
        settings,
        handlers=[*proxies(client, upstreams), openapi],
        workers=[client, *upstreams.values()],
        checks={name: upstream.check for name, upstream in upstreams.items()},
        dependencies={"documents": lambda: documents},
    )


def main() -> None:
    build(load(GatewaySettings)).serve()
