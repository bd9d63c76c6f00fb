"""Who may speak to whom, worked out from the policies as a network would, is what is written down here."""

from collections.abc import Iterator
from ipaddress import IPv4Network, ip_address
from typing import Any, NamedTuple

from tests.manifests import Manifest, of_kind, pod_templates

HERE = "gozon"


class Pod(NamedTuple):
    """`address`: of a server outside the cluster; empty for a pod."""

    namespace: str
    labels: dict[str, str]
    address: str = ""


# Pods that operators make, with the labels that they give them.
SERVERS = {
    "orders-db": {"cnpg.io/cluster": "orders-db", "cnpg.io/podRole": "instance"},
    "payments-db": {"cnpg.io/cluster": "payments-db", "cnpg.io/podRole": "instance"},
    "rabbitmq": {"app.kubernetes.io/name": "rabbitmq", "app.kubernetes.io/component": "rabbitmq"},
}
REDIS = {"app": "redis", "redis_setup_type": "replication", "role": "replication"}
ALONE = {"app": "redis", "redis_setup_type": "standalone", "role": "standalone"}
SENTINEL = {"app": "redis-sentinel", "redis_setup_type": "sentinel", "role": "sentinel"}
# Kubernetes' API: in kind or minikube, and where `production` has it until its address is put in.
API_OF_SMALL = ("172.18.0.2", "192.168.49.2")
API_OF_PRODUCTION = ("192.0.2.1",)
INTERNET = "198.51.100.7"
# Labels of namespaces.
ELSEWHERE = {
    "entrance": {"gozon-entrance": "true"},
    "dns": {"kubernetes.io/metadata.name": "kube-system"},
    "cnpg": {"kubernetes.io/metadata.name": "cnpg-system"},
    "rabbitmq-operator": {"kubernetes.io/metadata.name": "rabbitmq-system"},
    "redis-operator": {"kubernetes.io/metadata.name": "ot-operators"},
    "keda": {"kubernetes.io/metadata.name": "keda"},
    "prometheus": {"kubernetes.io/metadata.name": "monitoring"},
    "anywhere": {"kubernetes.io/metadata.name": "default"},
}
# A number is one of TCP.
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

EDGES: set[tuple[str, str, Port]] = {
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
    # Those who run the servers.
    *(("cnpg", database, port) for database in DATABASES for port in (5432, 8000)),
    ("rabbitmq-operator", "rabbitmq", 15672),
    ("redis-operator", "redis", 6379),
    # Nodes of one server, on whatever ports they have.
    *((server, server, port) for server in SERVERS for port in PORTS),
    ("redis", "redis", 6379),
}
PRODUCTION: set[tuple[str, str, Port]] = EDGES | {
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


def test_in_small_these_and_no_others(overlays: dict[str, list[Manifest]]) -> None:
    pods = _pods(overlays["small"]) | {"redis": Pod(HERE, ALONE)}
    pods |= _outside(API_OF_SMALL)
    assert _allowed(overlays["small"], pods) == EDGES | _names(pods) | _to_api(API_OF_SMALL, 6443, 8443)


def test_in_production_these_and_no_others(production: list[Manifest]) -> None:
    pods = _pods(production) | {"redis": Pod(HERE, REDIS), "sentinel": Pod(HERE, SENTINEL)}
    pods |= _outside(API_OF_PRODUCTION)
    assert _allowed(production, pods) == PRODUCTION | _names(pods) | _to_api(API_OF_PRODUCTION, 443, 6443)


def _outside(api: tuple[str, ...]) -> dict[str, Pod]:
    return {address: Pod("", {}, address) for address in (*api, INTERNET)}


def _to_api(api: tuple[str, ...], *ports: Port) -> set[tuple[str, str, Port]]:
    """The databases ask it, and go nowhere else."""
    return {(database, address, port) for database in DATABASES for address in api for port in ports}


def _names(pods: dict[str, Pod]) -> set[tuple[str, str, Port]]:
    """Everybody inside may ask for a name."""
    return {(name, "dns", port) for name, pod in pods.items() if pod.namespace == HERE for port in DNS}


def _pods(manifests: list[Manifest]) -> dict[str, Pod]:
    ours = (template["metadata"]["labels"] for _, template in pod_templates(manifests))
    return (
        {labels["app.kubernetes.io/name"]: Pod(HERE, labels) for labels in ours}
        | {name: Pod(HERE, labels) for name, labels in SERVERS.items()}
        | {name: Pod(name, {}) for name in ELSEWHERE}
    )


def _allowed(manifests: list[Manifest], pods: dict[str, Pod]) -> set[tuple[str, str, Port]]:
    policies = [each["spec"] for each in of_kind(manifests, "NetworkPolicy").values()]
    return {
        (source, target, port)
        for source in pods
        for target in pods
        for port in PORTS
        if HERE in (pods[source].namespace, pods[target].namespace)
        and _lets(policies, "egress", pods[source], pods[target], port)
        and _lets(policies, "ingress", pods[target], pods[source], port)
    }


def _lets(policies: list[Manifest], way: str, pod: Pod, other: Pod, port: Port) -> bool:
    """Whether the policies of one pod let it speak to, or be spoken to by, the other."""
    own = [policy for policy in policies if pod.namespace == HERE and _way(policy, way)]
    own = [policy for policy in own if _selects(policy["podSelector"], pod.labels)]
    return not own or any(_rule_lets(rule, way, other, port) for policy in own for rule in policy.get(way, []))


def _way(policy: Manifest, way: str) -> bool:
    return way.capitalize() in policy.get("policyTypes", ["Ingress"] + ["Egress"] * ("egress" in policy))


def _rule_lets(rule: Manifest, way: str, other: Pod, port: Port) -> bool:
    peers = rule.get("from" if way == "ingress" else "to")
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
        inside = _selects(peer["namespaceSelector"], ELSEWHERE.get(pod.namespace, {}))
    else:
        inside = pod.namespace == HERE
    return inside and _selects(peer.get("podSelector", {}), pod.labels)


def _network(block: Manifest) -> IPv4Network:
    assert block.keys() == {"cidr"}
    return IPv4Network(block["cidr"])


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return all(_holds(selector, labels))


def _holds(selector: dict[str, Any], labels: dict[str, str]) -> Iterator[bool]:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    for key, value in selector.get("matchLabels", {}).items():
        yield labels.get(key) == value
    for each in selector.get("matchExpressions", []):
        assert each["operator"] in ("In", "Exists")
        yield each["key"] in labels if each["operator"] == "Exists" else labels.get(each["key"]) in each["values"]
