"""`make openapi`: writes the OpenAPI document of each service, and a merged one, into docs/openapi."""

import json
from pathlib import Path
from typing import Any

import backstage.app
import notifier.app
import orders.app
import payments.app
from gateway.openapi import merge
from shopkit.web.service import Service

FOLDER = Path(__file__).parents[1] / "openapi"
DATABASE, BROKER, REDIS, HTTP = "postgresql://nowhere/none", "amqp://nowhere", "redis://nowhere", "http://nowhere"

# In the order of the merged document. A service connects to its servers only when it serves.
SERVICES: dict[str, Service] = {
    "orders": orders.app.build(orders.app.OrdersSettings(database_url=DATABASE, broker_url=BROKER)),
    "payments": payments.app.build(payments.app.PaymentsSettings(database_url=DATABASE, broker_url=BROKER)),
    "notifier": notifier.app.build(
        notifier.app.NotifierSettings(broker_url=BROKER, redis_url=REDIS, allowed_origins="")
    ),
    "backstage": backstage.app.build(
        backstage.app.BackstageSettings(
            orders_urls=HTTP, payments_urls=HTTP, notifier_urls=HTTP, gateway_urls=HTTP, broker_url=BROKER
        )
    ),
}


def documents() -> dict[str, dict[str, Any]]:
    """Returns the documents by their file name, without `.json`."""
    single = {name: service.document for name, service in SERVICES.items()}
    return single | {"gozon": merge(list(single.values()))}


def text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    for name, document in documents().items():
        (FOLDER / f"{name}.json").write_text(text(document))


if __name__ == "__main__":
    main()
