// The types of the manifests in deploy/kubernetes, by apiVersion and kind. Most come from packages that are generated
// from Kubernetes' OpenAPI document and the operators' definitions. There are no such packages for RabbitMQ and Redis,
// so their types are written below, after rabbitmq/cluster-operator api/v1beta1 and OT-CONTAINER-KIT/redis-operator
// api/*/v1beta2. They have only the fields that are used here.
import type { ClusterSpec } from "@cdk8s-kit/crds/pg";
import type { IScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";
import type { ITriggerAuthentication } from "@kubernetes-models/keda/keda.sh/v1alpha1/TriggerAuthentication";
import type { IPodMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor";
import type { IDeployment } from "kubernetes-models/apps/v1/Deployment";
import type { IHorizontalPodAutoscaler } from "kubernetes-models/autoscaling/v2/HorizontalPodAutoscaler";
import type { ICronJob } from "kubernetes-models/batch/v1/CronJob";
import type { IJob } from "kubernetes-models/batch/v1/Job";
import type { INetworkPolicy } from "kubernetes-models/networking.k8s.io/v1/NetworkPolicy";
import type { IPodDisruptionBudget } from "kubernetes-models/policy/v1/PodDisruptionBudget";
import type { IAffinity } from "kubernetes-models/v1/Affinity";
import type { IConfigMap } from "kubernetes-models/v1/ConfigMap";
import type { IEnvVarSource } from "kubernetes-models/v1/EnvVarSource";
import type { INamespace } from "kubernetes-models/v1/Namespace";
import type { IPersistentVolumeClaimSpec } from "kubernetes-models/v1/PersistentVolumeClaimSpec";
import type { IPodSecurityContext } from "kubernetes-models/v1/PodSecurityContext";
import type { IResourceRequirements } from "kubernetes-models/v1/ResourceRequirements";
import type { IService } from "kubernetes-models/v1/Service";

export interface Kinds {
  "v1 ConfigMap": IConfigMap;
  "v1 Namespace": INamespace;
  "v1 Service": IService;
  "apps/v1 Deployment": IDeployment;
  "autoscaling/v2 HorizontalPodAutoscaler": IHorizontalPodAutoscaler;
  "batch/v1 CronJob": ICronJob;
  "batch/v1 Job": IJob;
  "keda.sh/v1alpha1 ScaledObject": IScaledObject;
  "keda.sh/v1alpha1 TriggerAuthentication": ITriggerAuthentication;
  "monitoring.coreos.com/v1 PodMonitor": IPodMonitor;
  "networking.k8s.io/v1 NetworkPolicy": INetworkPolicy;
  "policy/v1 PodDisruptionBudget": IPodDisruptionBudget;
  "postgresql.cnpg.io/v1 Cluster": Custom<Plain<ClusterSpec>>;
  "rabbitmq.com/v1beta1 RabbitmqCluster": Custom<RabbitmqClusterSpec>;
  "redis.redis.opstreelabs.in/v1beta2 Redis": Custom<RedisSpec>;
  "redis.redis.opstreelabs.in/v1beta2 RedisReplication": Custom<RedisReplicationSpec>;
  "redis.redis.opstreelabs.in/v1beta2 RedisSentinel": Custom<RedisSentinelSpec>;
}

interface Custom<Spec> {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace: string };
  spec: Spec;
}

// cdk8s has enums for choices and classes for quantities. A manifest has strings for both.
type Plain<T> = T extends string
  ? `${T}`
  : T extends { readonly value: unknown }
    ? string | number
    : T extends object
      ? { [Key in keyof T]: Plain<T[Key]> }
      : T;

interface RabbitmqClusterSpec {
  replicas?: number;
  image?: string;
  persistence?: { storage?: string; storageClassName?: string };
  resources?: IResourceRequirements;
  affinity?: IAffinity;
  rabbitmq?: { additionalConfig?: string };
}

interface RedisSpec {
  kubernetesConfig: {
    image: string;
    resources?: IResourceRequirements;
    redisSecret?: { name: string; key: string };
  };
  podSecurityContext?: IPodSecurityContext;
  redisConfig?: { additionalRedisConfig?: string };
  storage?: { volumeClaimTemplate?: { spec: IPersistentVolumeClaimSpec } };
}

interface Replicated {
  clusterSize: number;
  affinity?: IAffinity;
  pdb?: { enabled?: boolean; maxUnavailable?: number };
}

type RedisReplicationSpec = RedisSpec & Replicated;

type RedisSentinelSpec = Omit<RedisSpec, "redisConfig" | "storage"> &
  Replicated & {
    redisSentinelConfig?: {
      redisReplicationName: string;
      redisReplicationPassword?: IEnvVarSource;
      masterGroupName?: string;
      quorum?: string;
      downAfterMilliseconds?: string;
      failoverTimeout?: string;
    };
  };
