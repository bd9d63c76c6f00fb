"""Routing: the service for each prefix of the path."""

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
    """Returns a proxy for each route whose service is in `upstreams`."""
    return [
        asgi(prefix, is_mount=True, copy_scope=False)(Proxy(client, prefix, upstreams[name]).__call__)
        for prefix, name in ROUTES.items()
        if name in upstreams
    ]
