"""What the pods may do and are given, and how many there are."""

import re

from shopkit.db.database import POOL_SIZE
from tests.manifests import Manifest, of_kind, of_kubernetes, pod_templates


def test_a_container_has_no_rights_and_has_limits(manifests: list[Manifest]) -> None:
    for name, template in pod_templates(manifests):
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}, name
        assert not any("hostPath" in volume for volume in pod.get("volumes", [])), name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "runAsNonRoot": True,
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            }, name
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}, name
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name


def test_no_manifest_has_a_secret(manifests: list[Manifest]) -> None:
    assert not of_kind(manifests, "Secret")
    for name, part in of_kubernetes(manifests).items():
        for variable, value in part.environment.items():
            assert not re.search(r"://[^@/$]*:[^@/$]+@", value or ""), (name, variable)


def test_who_is_given_which_secret(manifests: list[Manifest]) -> None:
    given = {
        (template["metadata"]["labels"]["app.kubernetes.io/name"], each["name"]): tuple(
            each["valueFrom"]["secretKeyRef"].values()
        )
        for _, template in pod_templates(manifests)
        for each in template["spec"]["containers"][0].get("env", [])
        if "valueFrom" in each
    }
    broker = {(name, "BROKER_URL") for name in ("orders", "payments", "notifier", "backstage")}
    assert given == dict.fromkeys(broker, ("connection_string", "rabbitmq-default-user")) | {
        ("orders", "DATABASE_URL"): ("uri", "orders-db-app"),
        ("migrate-orders", "DATABASE_URL"): ("uri", "orders-db-app"),
        ("payments", "DATABASE_URL"): ("uri", "payments-db-app"),
        ("migrate-payments", "DATABASE_URL"): ("uri", "payments-db-app"),
        ("auditor", "ORDERS_DATABASE_URL"): ("uri", "orders-db-app"),
        ("auditor", "PAYMENTS_DATABASE_URL"): ("uri", "payments-db-app"),
        ("notifier", "REDIS_PASSWORD"): ("password", "redis"),
    }


def test_a_service_is_probed(manifests: list[Manifest]) -> None:
    for name, deployment in of_kind(manifests, "Deployment").items():
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        assert {"livenessProbe", "readinessProbe"} <= container.keys(), name


def test_in_production_no_drain_of_a_node_takes_all_of_a_part(production: list[Manifest]) -> None:
    budgets = of_kind(production, "PodDisruptionBudget")
    deployments = of_kind(production, "Deployment")
    several = {name for name, each in deployments.items() if each["spec"].get("replicas", 1) > 1}
    assert set(budgets) == several | _scaled(production).keys() | {"rabbitmq"}
    for name, budget in budgets.items():
        # RabbitMQ's operator gives its pods this label too.
        selector = {"matchLabels": {"app.kubernetes.io/name": name}}
        # A replica of these that is not ready for want of RabbitMQ still accepts.
        unready = {} if name in ("orders", "payments") else {"unhealthyPodEvictionPolicy": "AlwaysAllow"}
        assert budget["spec"] == {"maxUnavailable": 1, "selector": selector} | unready, name
        if name in deployments:
            labels = deployments[name]["spec"]["template"]["metadata"]["labels"]
            assert selector["matchLabels"].items() <= labels.items(), name


def test_in_production_services_are_spread_by_selectors_that_kubernetes_takes(production: list[Manifest]) -> None:
    """It refuses a key that is in both, and `matchLabelKeys` without a selector."""
    for name, deployment in of_kind(production, "Deployment").items():
        constraints = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in constraints} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }, name
        for each in constraints:
            selector = each["labelSelector"]
            expressions = {expression["key"] for expression in selector.get("matchExpressions", [])}
            assert not (selector.get("matchLabels", {}).keys() | expressions) & set(each["matchLabelKeys"]), name


def test_what_is_scaled_has_no_number_of_its_own(production: list[Manifest]) -> None:
    """It would be set back at each `kubectl apply`."""
    deployments = of_kind(production, "Deployment")
    assert _scaled(production).keys() == {"gateway", "orders", "payments", "notifier"}
    assert not any("replicas" in deployments[name]["spec"] for name in _scaled(production))


def test_a_prometheus_without_data_takes_no_replica_away(production: list[Manifest]) -> None:
    assert [each.get("ignoreNullValues") for _, each in _prometheus_triggers(production)] == ["false"] * 2


def test_a_service_is_scaled_by_its_own_metrics(production: list[Manifest]) -> None:
    for service, trigger in _prometheus_triggers(production):
        for labels in re.findall(r"gozon_\w+(?:\{(.*?)\})?", trigger["query"]):
            assert f'service="{service}"' in labels.split(","), trigger["query"]


def test_the_most_replicas_fit_into_the_connections_of_a_database(production: list[Manifest]) -> None:
    for service in ("orders", "payments"):
        parameters = of_kind(production, "Cluster")[f"{service}-db"]["spec"]["postgresql"]["parameters"]
        during_an_update = _scaled(production)[service] + 1
        # Some are left for superusers, the auditor and people.
        assert during_an_update * POOL_SIZE + 20 <= int(parameters["max_connections"])


def test_redis_refuses_before_it_is_killed_for_its_memory(manifests: list[Manifest]) -> None:
    [redis] = of_kind(manifests, "Redis", "RedisReplication").values()
    limit = redis["spec"]["kubernetesConfig"]["resources"]["limits"]["memory"]
    conf = of_kind(manifests, "ConfigMap")["redis"]["data"]["redis-additional.conf"]
    [most] = re.findall(r"^maxmemory (\d+)mb$", conf, re.MULTILINE)
    assert 0.6 < int(most) / _mebibytes(limit) < 0.7


def test_small_has_one_of_each(overlays: dict[str, list[Manifest]]) -> None:
    small = overlays["small"]
    assert not _scaled(small)
    assert all(
        each["spec"].get("replicas", 1) == 1 for each in of_kind(small, "Deployment", "RabbitmqCluster").values()
    )
    assert all(each["spec"]["instances"] == 1 for each in of_kind(small, "Cluster").values())


def _scaled(manifests: list[Manifest]) -> dict[str, int]:
    """The most replicas of each."""
    by_cpu = of_kind(manifests, "HorizontalPodAutoscaler")
    by_keda = of_kind(manifests, "ScaledObject")
    return {each["spec"]["scaleTargetRef"]["name"]: each["spec"]["maxReplicas"] for each in by_cpu.values()} | {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["maxReplicaCount"] for each in by_keda.values()
    }


def _prometheus_triggers(manifests: list[Manifest]) -> list[tuple[str, Manifest]]:
    """Returns the metadata of each trigger with the name of the service that it scales."""
    return [
        (scaled["spec"]["scaleTargetRef"]["name"], trigger["metadata"])
        for scaled in of_kind(manifests, "ScaledObject").values()
        for trigger in scaled["spec"]["triggers"]
        if trigger["type"] == "prometheus"
    ]


def _mebibytes(quantity: str) -> int:
    number, unit = int(quantity[:-2]), quantity[-2:]
    return number * {"Mi": 1, "Gi": 1024}[unit]
