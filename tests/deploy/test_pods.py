"""The privileges, secrets, probes, replicas and resource limits of the pods."""

import re

from shopkit.db.database import POOL_SIZE
from tests.manifests import Manifest, of_kind, of_kubernetes, pod_templates


def test_containers_have_no_privileges_and_have_resource_limits(manifests: list[Manifest]) -> None:
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


def test_no_manifest_contains_a_secret(manifests: list[Manifest]) -> None:
    assert not of_kind(manifests, "Secret")
    for name, part in of_kubernetes(manifests).items():
        for variable, value in part.environment.items():
            assert not re.search(r"://[^@/$]*:[^@/$]+@", value or ""), (name, variable)


def test_each_pod_gets_only_the_secrets_that_it_needs(manifests: list[Manifest]) -> None:
    secrets = {
        (template["metadata"]["labels"]["app.kubernetes.io/name"], each["name"]): tuple(
            each["valueFrom"]["secretKeyRef"].values()
        )
        for _, template in pod_templates(manifests)
        for each in template["spec"]["containers"][0].get("env", [])
        if "valueFrom" in each
    }
    broker = {(name, "BROKER_URL") for name in ("orders", "payments", "notifier", "backstage")}
    assert secrets == dict.fromkeys(broker, ("connection_string", "rabbitmq-default-user")) | {
        ("orders", "DATABASE_URL"): ("uri", "orders-db-app"),
        ("migrate-orders", "DATABASE_URL"): ("uri", "orders-db-app"),
        ("payments", "DATABASE_URL"): ("uri", "payments-db-app"),
        ("migrate-payments", "DATABASE_URL"): ("uri", "payments-db-app"),
        ("auditor", "ORDERS_DATABASE_URL"): ("uri", "orders-db-app"),
        ("auditor", "PAYMENTS_DATABASE_URL"): ("uri", "payments-db-app"),
        ("notifier", "REDIS_PASSWORD"): ("password", "redis"),
    }


def test_deployments_have_liveness_and_readiness_probes(manifests: list[Manifest]) -> None:
    for name, deployment in of_kind(manifests, "Deployment").items():
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        assert {"livenessProbe", "readinessProbe"} <= container.keys(), name


def test_production_keeps_replicas_of_every_part_while_a_node_drains(production: list[Manifest]) -> None:
    budgets = of_kind(production, "PodDisruptionBudget")
    deployments = of_kind(production, "Deployment")
    replicated = {name for name, each in deployments.items() if each["spec"].get("replicas", 1) > 1}
    assert set(budgets) == replicated | _scaled(production).keys() | {"rabbitmq"}
    for name, budget in budgets.items():
        # The pods of RabbitMQ's operator have this label too.
        selector = {"matchLabels": {"app.kubernetes.io/name": name}}
        # Replicas of orders and payments without RabbitMQ are not ready, but still accept requests.
        unready = {} if name in ("orders", "payments") else {"unhealthyPodEvictionPolicy": "AlwaysAllow"}
        assert budget["spec"] == {"maxUnavailable": 1, "selector": selector} | unready, name
        if name in deployments:
            labels = deployments[name]["spec"]["template"]["metadata"]["labels"]
            assert selector["matchLabels"].items() <= labels.items(), name


def test_production_spreads_services_with_selectors_that_kubernetes_accepts(production: list[Manifest]) -> None:
    """Kubernetes rejects a key in both lists, and `matchLabelKeys` without a selector."""
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


def test_autoscaled_deployments_set_no_number_of_replicas(production: list[Manifest]) -> None:
    """Each `kubectl apply` would reset the number of the autoscaler."""
    deployments = of_kind(production, "Deployment")
    assert _scaled(production).keys() == {"gateway", "orders", "payments", "notifier"}
    assert not any("replicas" in deployments[name]["spec"] for name in _scaled(production))


def test_missing_prometheus_data_does_not_scale_down(production: list[Manifest]) -> None:
    assert [each.get("ignoreNullValues") for _, each in _prometheus_triggers(production)] == ["false"] * 2


def test_prometheus_triggers_select_the_metrics_of_their_service(production: list[Manifest]) -> None:
    for service, trigger in _prometheus_triggers(production):
        for labels in re.findall(r"gozon_\w+(?:\{(.*?)\})?", trigger["query"]):
            assert f'service="{service}"' in labels.split(","), trigger["query"]


def test_databases_have_enough_connections_for_the_highest_number_of_replicas(production: list[Manifest]) -> None:
    for service in ("orders", "payments"):
        parameters = of_kind(production, "Cluster")[f"{service}-db"]["spec"]["postgresql"]["parameters"]
        during_an_update = _scaled(production)[service] + 1
        # 20 connections are reserved for superusers, the auditor and operators.
        assert during_an_update * POOL_SIZE + 20 <= int(parameters["max_connections"])


def test_maxmemory_of_redis_is_below_the_memory_limit(manifests: list[Manifest]) -> None:
    [redis] = of_kind(manifests, "Redis", "RedisReplication").values()
    limit = redis["spec"]["kubernetesConfig"]["resources"]["limits"]["memory"]
    conf = of_kind(manifests, "ConfigMap")["redis"]["data"]["redis-additional.conf"]
    [maxmemory] = re.findall(r"^maxmemory (\d+)mb$", conf, re.MULTILINE)
    assert 0.6 < int(maxmemory) / _mebibytes(limit) < 0.7


def test_small_has_one_replica_of_each_part(overlays: dict[str, list[Manifest]]) -> None:
    small = overlays["small"]
    assert not _scaled(small)
    assert all(
        each["spec"].get("replicas", 1) == 1 for each in of_kind(small, "Deployment", "RabbitmqCluster").values()
    )
    assert all(each["spec"]["instances"] == 1 for each in of_kind(small, "Cluster").values())


def _scaled(manifests: list[Manifest]) -> dict[str, int]:
    """Returns the highest number of replicas of each autoscaled deployment."""
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
