"""The fixed addresses of deploy/cluster: Docker takes them as they stand, and nobody else gets one of them."""

import re
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import yaml

from tests.manifests import default

FILE = Path("deploy/cluster/docker-compose.yml")


def test_redis_has_one_subnet() -> None:
    assert len(set(re.findall(r"\$\{REDIS_SUBNET[^}]*\}", FILE.read_text()))) == 1


def test_what_docker_gives_away_is_not_a_fixed_address() -> None:
    compose = yaml.safe_load(FILE.read_text())
    network = compose["networks"]["push-data"]["ipam"]["config"][0]
    subnet, given_away = (IPv4Network(default(network[key])) for key in ("subnet", "ip_range"))
    fixed = [
        IPv4Address(default(service["networks"]["push-data"]["ipv4_address"]))
        for service in compose["services"].values()
        if "networks" in service
    ]
    assert len(set(fixed)) == len(fixed) == 3
    assert given_away.subnet_of(subnet)
    assert all(address in subnet and address not in given_away for address in fixed)
