"""Which prefix goes to which service."""

from collections.abc import Mapping

from litestar import asgi
from litestar.types import ControllerRouterHandler

from gateway.client import Client
from gateway.proxy import Proxy
from shopkit.web.upstreams import Upstream

ROUTES = {
    "/api/orders": "orders",
    "/api/payments": "payments",
    "/api/notifications": "notifier",
    "/api/docs": "web",
    "/api/backstage": "backstage",
}


def proxies(client: Client, upstreams: Mapping[str, Upstream]) -> list[ControllerRouterHandler]:
    return [
        asgi(prefix, is_mount=True, copy_scope=False)(Proxy(client, prefix, upstreams[name]).__call__)
        for prefix, name in ROUTES.items()
        if name in upstreams
    ]
