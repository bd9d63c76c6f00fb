"""The process of the gateway: its settings, and the parts of which it consists."""

from gateway.client import Client
from gateway.openapi import Documents, openapi
from gateway.routes import proxies
from shopkit.runtime.settings import Settings, load
from shopkit.web.service import Service
from shopkit.web.upstreams import Upstream, Urls, UrlsIfAny


class GatewaySettings(Settings, frozen=True, kw_only=True):
    """The replicas of each service. If `backstage_urls` is empty, there is no route to backstage."""

    orders_urls: Urls
    payments_urls: Urls
    notifier_urls: Urls
    web_urls: Urls
    backstage_urls: UrlsIfAny = ""


def build(settings: GatewaySettings) -> Service:
    client = Client()
    required = {
        "orders": Upstream("orders", settings.orders_urls),
        "payments": Upstream("payments", settings.payments_urls),
        "notifier": Upstream("notifier", settings.notifier_urls),
        "web": Upstream("web", settings.web_urls),
    }
    optional = {"backstage": Upstream("backstage", settings.backstage_urls)} if settings.backstage_urls else {}
    upstreams = required | optional
    with_document = [upstreams[name] for name in ("orders", "payments", "notifier")]
    documents = Documents(client, with_document, list(optional.values()))
    return Service(
        "gateway",
        settings,
        handlers=[*proxies(client, upstreams), openapi],
        workers=[client, *upstreams.values()],
        checks={name: upstream.check for name, upstream in required.items()},
        dependencies={"documents": lambda: documents},
    )


def main() -> None:
    build(load(GatewaySettings)).serve()
