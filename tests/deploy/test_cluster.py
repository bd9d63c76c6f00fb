"""The fixed addresses of deploy/cluster are valid, and Docker gives them to no other container."""

import re
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import yaml

from tests.manifests import default

FILE = Path("deploy/cluster/docker-compose.yml")


def test_the_subnet_of_redis_has_one_default() -> None:
    assert len(set(re.findall(r"\$\{REDIS_SUBNET[^}]*\}", FILE.read_text()))) == 1


def test_fixed_addresses_are_outside_the_range_that_docker_assigns() -> None:
    compose = yaml.safe_load(FILE.read_text())
    network = compose["networks"]["push-data"]["ipam"]["config"][0]
    subnet, assigned = (IPv4Network(default(network[key])) for key in ("subnet", "ip_range"))
    fixed = [
        IPv4Address(default(service["networks"]["push-data"]["ipv4_address"]))
        for service in compose["services"].values()
        if "networks" in service
    ]
    assert len(set(fixed)) == len(fixed) == 3
    assert assigned.subnet_of(subnet)
    assert all(address in subnet and address not in assigned for address in fixed)
