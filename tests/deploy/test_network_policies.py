"""The connections that the network policies allow are exactly the expected ones.

The tests evaluate the policies like a network plugin, for all pairs of pods and all ports.
"""

from collections.abc import Iterator
from ipaddress import IPv4Network, ip_address
from typing import Any, NamedTuple

from tests.manifests import Manifest, of_kind, pod_templates

NAMESPACE = "gozon"


class Pod(NamedTuple):
    """A pod, or a server outside the cluster, which has an `address` instead of labels."""

    namespace: str
    labels: dict[str, str]
    address: str = ""


# Pods that Kubernetes operators create, with their labels.
SERVERS = {
    "orders-db": {"cnpg.io/cluster": "orders-db", "cnpg.io/podRole": "instance"},
    "payments-db": {"cnpg.io/cluster": "payments-db", "cnpg.io/podRole": "instance"},
    "rabbitmq": {"app.kubernetes.io/name": "rabbitmq", "app.kubernetes.io/component": "rabbitmq"},
}
REDIS = {"app": "redis", "redis_setup_type": "replication", "role": "replication"}
STANDALONE_REDIS = {"app": "redis", "redis_setup_type": "standalone", "role": "standalone"}
SENTINEL = {"app": "redis-sentinel", "redis_setup_type": "sentinel", "role": "sentinel"}
# Addresses of the Kubernetes API: in kind and minikube, and the placeholder in `production`.
API_OF_SMALL = ("172.18.0.2", "192.168.49.2")
API_OF_PRODUCTION = ("192.0.2.1",)
INTERNET = "198.51.100.7"
# Other namespaces, with their labels.
OTHER_NAMESPACES = {
    "entrance": {"gozon-entrance": "true"},
    "dns": {"kubernetes.io/metadata.name": "kube-system"},
    "cnpg": {"kubernetes.io/metadata.name": "cnpg-system"},
    "rabbitmq-operator": {"kubernetes.io/metadata.name": "rabbitmq-system"},
    "redis-operator": {"kubernetes.io/metadata.name": "ot-operators"},
    "keda": {"kubernetes.io/metadata.name": "keda"},
    "prometheus": {"kubernetes.io/metadata.name": "monitoring"},
    "anywhere": {"kubernetes.io/metadata.name": "default"},
}
# A number is a TCP port.
Port = int | str
DNS = (53, "53/UDP")
PORTS: tuple[Port, ...] = (
    *DNS,
    80,
    443,
    5432,
    5672,
    6379,
    6443,
    8000,
    8080,
    8443,
    9187,
    15672,
    15692,
    25672,
    26379,
)
DATABASES = ("orders-db", "payments-db")
SERVICES = ("gateway", "orders", "payments", "notifier", "backstage")

SMALL: set[tuple[str, str, Port]] = {
    ("entrance", "nginx", 80),
    ("nginx", "web", 8080),
    ("nginx", "gateway", 8000),
    ("nginx", "notifier", 8000),
    ("gateway", "web", 8080),
    ("gateway", "orders", 8000),
    ("gateway", "payments", 8000),
    ("gateway", "notifier", 8000),
    ("gateway", "backstage", 8000),
    ("backstage", "gateway", 8000),
    ("backstage", "orders", 8000),
    ("backstage", "payments", 8000),
    ("backstage", "notifier", 8000),
    ("backstage", "rabbitmq", 5672),
    ("orders", "rabbitmq", 5672),
    ("payments", "rabbitmq", 5672),
    ("notifier", "rabbitmq", 5672),
    ("notifier", "redis", 6379),
    ("orders", "orders-db", 5432),
    ("migrate-orders", "orders-db", 5432),
    ("auditor", "orders-db", 5432),
    ("payments", "payments-db", 5432),
    ("migrate-payments", "payments-db", 5432),
    ("auditor", "payments-db", 5432),
    # The operators manage their servers.
    *(("cnpg", database, port) for database in DATABASES for port in (5432, 8000)),
    ("rabbitmq-operator", "rabbitmq", 15672),
    ("redis-operator", "redis", 6379),
    # The nodes of one server may use any port among themselves.
    *((server, server, port) for server in SERVERS for port in PORTS),
    ("redis", "redis", 6379),
}
PRODUCTION: set[tuple[str, str, Port]] = SMALL | {
    ("sentinel", "redis", 6379),
    ("sentinel", "sentinel", 26379),
    ("notifier", "sentinel", 26379),
    ("redis-operator", "sentinel", 26379),
    ("keda", "rabbitmq", 5672),
    *(("prometheus", service, 8000) for service in SERVICES),
    ("prometheus", "rabbitmq", 15692),
    ("prometheus", "orders-db", 9187),
    ("prometheus", "payments-db", 9187),
}


def test_small_allows_exactly_the_expected_connections(overlays: dict[str, list[Manifest]]) -> None:
    pods = _pods(overlays["small"]) | {"redis": Pod(NAMESPACE, STANDALONE_REDIS)}
    pods |= _external_addresses(API_OF_SMALL)
    assert _allowed(overlays["small"], pods) == SMALL | _to_dns(pods) | _to_api(API_OF_SMALL, 6443, 8443)


def test_production_allows_exactly_the_expected_connections(production: list[Manifest]) -> None:
    pods = _pods(production) | {"redis": Pod(NAMESPACE, REDIS), "sentinel": Pod(NAMESPACE, SENTINEL)}
    pods |= _external_addresses(API_OF_PRODUCTION)
    assert _allowed(production, pods) == PRODUCTION | _to_dns(pods) | _to_api(API_OF_PRODUCTION, 443, 6443)


def _external_addresses(api: tuple[str, ...]) -> dict[str, Pod]:
    return {address: Pod("", {}, address) for address in (*api, INTERNET)}


def _to_api(api: tuple[str, ...], *ports: Port) -> set[tuple[str, str, Port]]:
    """Returns the connections from the databases to the Kubernetes API."""
    return {(database, address, port) for database in DATABASES for address in api for port in ports}


def _to_dns(pods: dict[str, Pod]) -> set[tuple[str, str, Port]]:
    """Returns the connections of all pods of the namespace to DNS."""
    return {(name, "dns", port) for name, pod in pods.items() if pod.namespace == NAMESPACE for port in DNS}


def _pods(manifests: list[Manifest]) -> dict[str, Pod]:
    labels_of_pods = (template["metadata"]["labels"] for _, template in pod_templates(manifests))
    return (
        {labels["app.kubernetes.io/name"]: Pod(NAMESPACE, labels) for labels in labels_of_pods}
        | {name: Pod(NAMESPACE, labels) for name, labels in SERVERS.items()}
        | {name: Pod(name, {}) for name in OTHER_NAMESPACES}
    )


def _allowed(manifests: list[Manifest], pods: dict[str, Pod]) -> set[tuple[str, str, Port]]:
    policies = [each["spec"] for each in of_kind(manifests, "NetworkPolicy").values()]
    return {
        (source, target, port)
        for source in pods
        for target in pods
        for port in PORTS
        if NAMESPACE in (pods[source].namespace, pods[target].namespace)
        and _permits(policies, "egress", pods[source], pods[target], port)
        and _permits(policies, "ingress", pods[target], pods[source], port)
    }


def _permits(policies: list[Manifest], direction: str, pod: Pod, other: Pod, port: Port) -> bool:
    """Returns whether the policies of a pod permit `egress` to, or `ingress` from, the other pod."""
    own = [policy for policy in policies if pod.namespace == NAMESPACE and _applies(policy, direction)]
    own = [policy for policy in own if _selects(policy["podSelector"], pod.labels)]
    return not own or any(
        _rule_permits(rule, direction, other, port) for policy in own for rule in policy.get(direction, [])
    )


def _applies(policy: Manifest, direction: str) -> bool:
    return direction.capitalize() in policy.get("policyTypes", ["Ingress"] + ["Egress"] * ("egress" in policy))


def _rule_permits(rule: Manifest, direction: str, other: Pod, port: Port) -> bool:
    peers = rule.get("from" if direction == "ingress" else "to")
    return (peers is None or any(_is_peer(peer, other) for peer in peers)) and (
        "ports" not in rule or port in map(_port, rule["ports"])
    )


def _port(allowed: dict[str, Any]) -> Port:
    assert allowed.keys() <= {"port", "protocol"}
    number, protocol = allowed["port"], allowed.get("protocol", "TCP")
    return number if protocol == "TCP" else f"{number}/{protocol}"


def _is_peer(peer: Manifest, pod: Pod) -> bool:
    assert peer.keys() <= {"podSelector", "namespaceSelector"} or peer.keys() == {"ipBlock"}
    if pod.address or "ipBlock" in peer:
        return bool(pod.address) and "ipBlock" in peer and ip_address(pod.address) in _network(peer["ipBlock"])
    if "namespaceSelector" in peer:
        inside = _selects(peer["namespaceSelector"], OTHER_NAMESPACES.get(pod.namespace, {}))
    else:
        inside = pod.namespace == NAMESPACE
    return inside and _selects(peer.get("podSelector", {}), pod.labels)


def _network(block: Manifest) -> IPv4Network:
    assert block.keys() == {"cidr"}
    return IPv4Network(block["cidr"])


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return all(_conditions(selector, labels))


def _conditions(selector: dict[str, Any], labels: dict[str, str]) -> Iterator[bool]:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    for key, value in selector.get("matchLabels", {}).items():
        yield labels.get(key) == value
    for each in selector.get("matchExpressions", []):
        assert each["operator"] in ("In", "Exists")
        yield each["key"] in labels if each["operator"] == "Exists" else labels.get(each["key"]) in each["values"]
