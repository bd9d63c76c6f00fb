"""Every manifest has only fields that Kubernetes and the operators know, with the right types."""

import copy
import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.manifests import TOOLS, Manifest

# TypeScript rejects an object literal with a field that its type does not have.
COMPILE = shlex.split(
    "node_modules/.bin/tsc --noEmit --strict --skipLibCheck --types '' --pretty false "
    "--target esnext --module esnext --moduleResolution bundler manifests.ts"
)
Mistake = tuple[str, dict[str, str] | str | int]

MISTAKES: dict[str, Mistake] = {
    "apps/v1 Deployment": ("spec.template.spec.containers.0.readynessProbe", {}),
    "v1 Service": ("spec.ports.0.port", "eighty"),
    "batch/v1 CronJob": ("spec.jobTemplate.spec.backOffLimit", 0),
    "batch/v1 Job": ("spec.ttlSeconds", 60),
    "networking.k8s.io/v1 NetworkPolicy": ("spec.podSelector.matchLabel", {}),
    "policy/v1 PodDisruptionBudget": ("spec.maxUnavailable", True),
    "autoscaling/v2 HorizontalPodAutoscaler": ("spec.maxReplica", 3),
    "keda.sh/v1alpha1 ScaledObject": ("spec.triggers.0.queueName", "payments"),
    "keda.sh/v1alpha1 TriggerAuthentication": ("spec.secretTargetRef.0.secret", "x"),
    "monitoring.coreos.com/v1 PodMonitor": ("spec.podMetricsEndpoints.0.paths", "/"),
    "postgresql.cnpg.io/v1 Cluster": ("spec.postgresql.synchronous.dataDurability", "always"),
    "rabbitmq.com/v1beta1 RabbitmqCluster": ("spec.replica", 3),
    "redis.redis.opstreelabs.in/v1beta2 RedisReplication": ("spec.kubernetesConfig.redisSecret.keys", "x"),
    "redis.redis.opstreelabs.in/v1beta2 RedisSentinel": ("spec.redisSentinelConfig.quorum", 2),
}


def test_every_manifest_matches_its_kind(manifests: list[Manifest], tmp_path: Path) -> None:
    assert errors(manifests, tmp_path) == {}


def test_a_mistake_is_found(production: list[Manifest], tmp_path: Path) -> None:
    wrong = [_with_mistake(production, kind, *mistake) for kind, mistake in MISTAKES.items()]
    assert sorted(errors(wrong, tmp_path)) == list(range(len(wrong)))


def test_an_unknown_kind_is_found(overlays: object, tmp_path: Path) -> None:
    assert errors([{"apiVersion": "v1", "kind": "Pot"}], tmp_path)


def errors(manifests: Sequence[Manifest], folder: Path) -> dict[int, str]:
    """Returns compiler errors by the index of the manifest. Each manifest is one line of the compiled file."""
    (folder / "node_modules").symlink_to((TOOLS / "node_modules").resolve())
    (folder / "kinds.ts").symlink_to((TOOLS / "kinds.ts").resolve())
    lines = [
        f'const _{at}: import("./kinds").Kinds["{kind_of(manifest)}"] = {json.dumps(manifest)};'
        for at, manifest in enumerate(manifests)
    ]
    (folder / "manifests.ts").write_text("\n".join(lines))
    compiled = subprocess.run(COMPILE, cwd=folder, capture_output=True, text=True, check=False)
    found: dict[int, str] = {}
    for line in compiled.stdout.splitlines():
        if line.startswith("manifests.ts("):
            found.setdefault(int(line.split("(")[1].split(",")[0]) - 1, line)
    assert bool(compiled.returncode) == bool(found), compiled.stdout + compiled.stderr
    return found


def kind_of(manifest: Manifest) -> str:
    return f"{manifest['apiVersion']} {manifest['kind']}"


def _with_mistake(manifests: list[Manifest], kind: str, path: str, value: object) -> Manifest:
    manifest = copy.deepcopy(next(manifest for manifest in manifests if kind_of(manifest) == kind))
    *parents, last = path.split(".")
    node: Any = manifest
    for step in parents:
        node = node[int(step) if step.isdigit() else step]
    node[last] = value
    return manifest
