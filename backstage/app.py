"""The process of backstage: its settings, and the parts of which it consists."""

from backstage.latest import Latest
from backstage.queues import Queues
from backstage.replicas import Replicas
from backstage.routes import show_backstage
from shopkit.runtime.settings import Settings, load
from shopkit.web.service import Service
from shopkit.web.upstreams import Upstream, Urls


class BackstageSettings(Settings, frozen=True, kw_only=True):
    orders_urls: Urls
    payments_urls: Urls
    notifier_urls: Urls
    gateway_urls: Urls
    broker_url: str


def build(settings: BackstageSettings) -> Service:
    """Returns the service. Readiness does not check the broker: without it only the queue depths are unknown."""
    upstreams = [
        Upstream("orders", settings.orders_urls),
        Upstream("payments", settings.payments_urls),
        Upstream("notifier", settings.notifier_urls),
        Upstream("gateway", settings.gateway_urls),
    ]
    replicas = Replicas(upstreams)
    queues = Queues(settings.broker_url, settings.replica)
    latest = Latest(replicas, queues)
    return Service(
        "backstage",
        settings,
        about="The current activity of replicas and queues. The request needs no user.",
        handlers=[show_backstage],
        workers=[*upstreams, replicas, queues],
        checks={upstream.name: upstream.check for upstream in upstreams},
        dependencies={"latest": lambda: latest},
    )


def main() -> None:
    build(load(BackstageSettings)).serve()
