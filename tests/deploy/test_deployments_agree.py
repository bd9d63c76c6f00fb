"""Compose, Swarm and Kubernetes run the same images and commands with the same settings, ports and probes."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from shopkit import VERSION
from tests.manifests import (
    Manifest,
    Part,
    default,
    memory_of,
    of_compose,
    of_kind,
    of_kubernetes,
    pod_templates,
    services_of,
)

COMPOSE = Path("docker-compose.yml")
CLUSTER = Path("deploy/cluster/docker-compose.yml")
# The auditor is not a service of the stack.
SWARM = (COMPOSE, Path("deploy/swarm/swarm.yml"), Path("deploy/swarm/auditor.yml"))
DEPLOYMENTS: dict[str, Callable[[dict[str, list[Manifest]]], dict[str, Part]]] = {
    "small": lambda overlays: of_kubernetes(overlays["small"]),
    "production": lambda overlays: of_kubernetes(overlays["production"]),
    "swarm": lambda _: of_compose(*SWARM),
}
SERVICES = ("gateway", "orders", "payments", "notifier", "backstage")
# Variables that differ, because they contain addresses and passwords.
ADDRESSES = {
    "DATABASE_URL",
    "ORDERS_DATABASE_URL",
    "PAYMENTS_DATABASE_URL",
    "BROKER_URL",
    "REDIS_URL",
    "ALLOWED_ORIGINS",
}
# Variables of Kubernetes only: a job migrates, REDIS_URL contains REDIS_PASSWORD, and Redis can have replicas.
ONLY_KUBERNETES = {"MIGRATE", "REDIS_PASSWORD", "REDIS_REPLICAS"}
# Kubernetes and Swarm check only the port, so nginx serves the API while the web page is unavailable.
CHECKED_BY_PORT = {"nginx"}
# The health check of Swarm writes a file there.
SWARM_WRITES = {"/tmp"}  # noqa: S108
FILES = {"compose": (COMPOSE,), "swarm": SWARM, "cluster": (COMPOSE, CLUSTER)}
NAMESPACE = ".gozon.svc.cluster.local"


@pytest.fixture(params=DEPLOYMENTS)
def deployment(request: pytest.FixtureRequest, overlays: dict[str, list[Manifest]]) -> dict[str, Part]:
    return DEPLOYMENTS[request.param](overlays)


@pytest.fixture
def compose() -> dict[str, Part]:
    return of_compose(COMPOSE)


def test_deployments_have_the_same_parts(deployment: dict[str, Part], compose: dict[str, Part]) -> None:
    assert deployment.keys() == compose.keys()


def test_deployments_use_the_same_images(deployment: dict[str, Part], compose: dict[str, Part]) -> None:
    assert {name: _bare(part.image) for name, part in deployment.items()} == {
        name: _bare(part.image) for name, part in compose.items()
    }


def test_deployments_run_the_same_commands(deployment: dict[str, Part], compose: dict[str, Part]) -> None:
    assert {name: part.command for name, part in deployment.items()} == {
        name: part.command for name, part in compose.items()
    }


def test_deployments_set_the_same_environment_variables(
    deployment: dict[str, Part], compose: dict[str, Part]
) -> None:
    for name, part in deployment.items():
        assert part.environment.keys() - ONLY_KUBERNETES == compose[name].environment.keys(), name


def test_environment_variables_have_the_same_values(deployment: dict[str, Part], compose: dict[str, Part]) -> None:
    for name, part in deployment.items():
        for variable, value in compose[name].environment.items():
            assert variable in ADDRESSES or part.environment[variable] == value, (name, variable)


def test_deployments_have_the_same_ports_and_probes(deployment: dict[str, Part], compose: dict[str, Part]) -> None:
    for name, part in deployment.items():
        assert part.port == compose[name].port, name
        assert all(probe.port == part.port for probe in part.probes.values()), name
        if name in CHECKED_BY_PORT:
            assert {probe.path for probe in part.probes.values()} == {None}, name
        else:
            assert part.probes.get("ready") == compose[name].probes.get("ready"), name


def test_deployments_have_the_same_memory_limits(deployment: dict[str, Part], compose: dict[str, Part]) -> None:
    assert {name: part.memory for name, part in deployment.items()} == {
        name: part.memory for name, part in compose.items()
    }


def test_deployments_can_write_to_the_same_folders(deployment: dict[str, Part], compose: dict[str, Part]) -> None:
    for name, part in deployment.items():
        assert part.written - SWARM_WRITES == compose[name].written - SWARM_WRITES, name


@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_containers_have_no_privileges_and_have_resource_limits(files: tuple[Path, ...]) -> None:
    """tests/deploy/test_pods.py checks the same for Kubernetes."""
    for name, service in services_of(*files).items():
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert service["logging"] == {"driver": "local", "options": {"max-size": "10m", "max-file": "3"}}, name
        assert service["deploy"]["resources"]["limits"].keys() == {"memory", "pids"}, name
        # The Dockerfiles of Gozon's own images set USER.
        assert service.get("user", "root") != "root" or "gozon" in service["image"], name


def test_a_replica_without_one_of_its_servers_is_not_killed(deployment: dict[str, Part]) -> None:
    """Kubernetes and Swarm kill by liveness only. Compose never kills an unhealthy replica."""
    for name in SERVICES:
        paths = {kind: probe.path for kind, probe in deployment[name].probes.items()}
        assert paths.pop("ready") == "/health/ready", name
        assert "live" in paths, name
        assert set(paths.values()) == {"/health/live"}, name


def test_swarm_publishes_the_port_of_compose() -> None:
    [in_compose] = services_of(COMPOSE)["nginx"]["ports"]
    [published] = services_of(*SWARM)["nginx"]["ports"]
    assert f"127.0.0.1:{published['published']}:{published['target']}" == in_compose


def test_the_environment_can_allow_other_origins_to_open_a_socket() -> None:
    for files in ((COMPOSE,), SWARM):
        origins = services_of(*files)["notifier"]["environment"]["ALLOWED_ORIGINS"]
        assert origins.startswith("${ALLOWED_ORIGINS:-")
        assert default(origins) == "http://127.0.0.1:8080,http://localhost:8080"


def test_services_can_drain_as_long_as_in_compose(manifests: list[Manifest]) -> None:
    services = services_of(COMPOSE)
    for name, deployment in of_kind(manifests, "Deployment").items():
        pod = deployment["spec"]["template"]["spec"]
        pre_stop = _pre_stop_seconds(pod)
        grace = services[name].get("stop_grace_period", "10s")
        assert pod["terminationGracePeriodSeconds"] - pre_stop >= int(grace.removesuffix("s")), name


def test_a_stopping_replica_accepts_requests_until_its_address_has_expired(manifests: list[Manifest]) -> None:
    """Except where the Service lists unready pods: callers would then keep using the address during the wait."""
    services = of_kind(manifests, "Service")
    for name, deployment in of_kind(manifests, "Deployment").items():
        listed_when_unready = services[name]["spec"].get("publishNotReadyAddresses", False)
        assert _pre_stop_seconds(deployment["spec"]["template"]["spec"]) == (0 if listed_when_unready else 10), name


def test_servers_have_the_releases_of_compose(manifests: list[Manifest]) -> None:
    services = services_of(COMPOSE)
    for database, cluster in of_kind(manifests, "Cluster").items():
        assert f":{_tag(default(services[database]['image']))}-" in cluster["spec"]["imageName"]
    for each in of_kind(manifests, "Redis", "RedisReplication", "RedisSentinel").values():
        assert f":v{_tag(default(services['redis']['image']))}." in each["spec"]["kubernetesConfig"]["image"]
    [rabbitmq] = of_kind(manifests, "RabbitmqCluster").values()
    assert rabbitmq["spec"]["image"] == default(services["rabbitmq"]["image"])


def test_servers_of_small_have_the_memory_limits_of_compose(overlays: dict[str, list[Manifest]]) -> None:
    services = services_of(COMPOSE)
    for name, server in of_kind(overlays["small"], "Cluster", "RabbitmqCluster", "Redis").items():
        spec = server["spec"].get("kubernetesConfig", server["spec"])
        assert spec["resources"]["limits"]["memory"] == memory_of(services[name]), name


def test_servers_of_small_have_the_options_of_compose(overlays: dict[str, list[Manifest]]) -> None:
    services = services_of(COMPOSE)
    for database, cluster in of_kind(overlays["small"], "Cluster").items():
        parameters = cluster["spec"]["postgresql"]["parameters"]
        assert {f"{name}={value}" for name, value in parameters.items()} == set(services[database]["command"][2::2])
    words = services["redis"]["command"]
    options = [
        name.removeprefix("--") + " " + (value or '""')
        for name, value in zip(words[1::2], words[2::2], strict=True)
        if name != "--requirepass"  # the operator sets it
    ]
    configured = of_kind(overlays["small"], "ConfigMap")["redis"]["data"]["redis-additional.conf"].splitlines()
    assert sorted(configured) == sorted(options)


def test_jit_is_off_in_production_as_in_compose(production: list[Manifest]) -> None:
    """The other options depend on the size of the machine."""
    services = services_of(COMPOSE)
    for database, cluster in of_kind(production, "Cluster").items():
        assert f"jit={cluster['spec']['postgresql']['parameters']['jit']}" in services[database]["command"]


def test_redis_of_production_has_the_options_of_the_cluster(production: list[Manifest]) -> None:
    conf = of_kind(production, "ConfigMap")["redis"]["data"]
    assert conf["cluster.conf"] == Path("deploy/cluster/redis.conf").read_text()
    include, maxmemory = _without_comments(conf["redis-additional.conf"])
    assert include == "include /etc/redis/external.conf.d/cluster.conf"
    assert maxmemory.startswith("maxmemory ")


def test_sentinels_of_production_have_the_timeouts_of_the_cluster(production: list[Manifest]) -> None:
    config = of_kind(production, "RedisSentinel")["redis"]["spec"]["redisSentinelConfig"]
    sentinel = services_of(CLUSTER)["sentinel"]
    assert {
        f"sentinel down-after-milliseconds gozon {config['downAfterMilliseconds']}",
        f"sentinel failover-timeout gozon {config['failoverTimeout']}",
    } <= set(sentinel["command"])
    assert any(line.endswith(f" 6379 {config['quorum']}") for line in sentinel["command"])


def test_rabbitmq_of_production_has_the_options_of_the_cluster(production: list[Manifest]) -> None:
    rabbitmq = of_kind(production, "RabbitmqCluster")["rabbitmq"]["spec"]["rabbitmq"]
    lines = _without_comments(Path("deploy/cluster/rabbitmq.conf").read_text())
    assert rabbitmq["additionalConfig"].splitlines() == [
        line for line in lines if not line.startswith("cluster_formation.")
    ]


def test_nginx_has_the_same_configuration_files(manifests: list[Manifest]) -> None:
    [conf] = [each["data"] for name, each in of_kind(manifests, "ConfigMap").items() if name.startswith("nginx")]
    assert conf["nginx.conf"] == Path("nginx.conf").read_text()
    assert conf["listen.conf"] == Path("deploy/docker/listen.conf").read_text()
    docker = Path("deploy/docker/upstreams.conf").read_text()
    assert _upstreams(conf["upstreams.conf"]) == _upstreams(docker)


def test_the_namespace_matches_the_names_in_upstreams(manifests: list[Manifest]) -> None:
    assert set(of_kind(manifests, "Namespace")) == {NAMESPACE.split(".")[1]}
    assert all(each["metadata"]["namespace"] == "gozon" for each in manifests if each["kind"] != "Namespace")


def test_every_url_is_the_address_of_a_service(manifests: list[Manifest]) -> None:
    services = {name: each["spec"]["ports"][0]["port"] for name, each in of_kind(manifests, "Service").items()}
    for name, part in of_kubernetes(manifests).items():
        for variable, value in part.environment.items():
            if variable.endswith("_URLS") and value:
                host, port = value.removeprefix("http://").split(":")
                assert services[host] == int(port), (name, variable)


def test_services_list_the_addresses_of_all_replicas(manifests: list[Manifest]) -> None:
    """nginx and the gateway balance the load themselves. Only the Service of nginx has a single address."""
    services = of_kind(manifests, "Service")
    parts = of_kubernetes(manifests)
    labels = {name: template["metadata"]["labels"] for name, template in pod_templates(manifests)}
    assert {name for name, each in services.items() if each["spec"].get("clusterIP") != "None"} == {"nginx"}
    for name, service in services.items():
        assert service["spec"]["selector"].items() <= labels[name].items()
        assert service["spec"]["ports"][0]["port"] == parts[name].port


def test_production_runs_this_release(production: list[Manifest]) -> None:
    images = {part.image for part in of_kubernetes(production).values() if "gozon" in part.image}
    assert images == {f"registry.example/gozon:{VERSION}", f"registry.example/gozon-web:{VERSION}"}


def test_each_release_has_its_own_migrations(manifests: list[Manifest]) -> None:
    jobs = of_kind(manifests, "Job")
    image = of_kubernetes(manifests)["orders"].image
    assert set(jobs) == {f"migrate-{service}-{_tag(image)}" for service in ("orders", "payments")}
    for service in ("orders", "payments"):
        [container] = jobs[f"migrate-{service}-{_tag(image)}"]["spec"]["template"]["spec"]["containers"]
        assert container["image"] == image
        assert container["command"] == ["python", "-m", "gozon", "migrate", service]


def test_the_image_and_make_pin_the_same_uv() -> None:
    pins = [
        re.findall(r"\buv==([\d.]+)", Path(file).read_text()) for file in ("Dockerfile", "deploy/local/get-uv.sh")
    ]
    assert pins[0] == pins[1] != []


def _bare(image: str) -> str:
    """Returns the image. Removes registry and tag of Gozon's own images."""
    return re.sub(r"^(?:.*/)?(gozon[-\w]*)(?::.*)?$", r"\1", default(image))


def _pre_stop_seconds(pod: Manifest) -> int:
    """Returns for how many seconds a pod accepts requests after Kubernetes has begun to stop it."""
    return pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)


def _tag(image: str) -> str:
    return image.rpartition(":")[2]


def _without_comments(conf: str) -> list[str]:
    return [line for line in conf.splitlines() if line and not line.startswith("#")]


def _upstreams(conf: str) -> list[str]:
    return [re.sub(r"^resolver \S+", "resolver", line.replace(NAMESPACE, "")) for line in _without_comments(conf)]
