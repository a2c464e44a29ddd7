import type { Manifest } from './kubernetes-schema.js'

type Labels = Record<string, string>

interface Probe {
  httpGet: { path: string; port: number }
}

export interface EnvironmentVariable {
  name: string
  value?: string
  valueFrom?: { fieldRef?: { fieldPath: string }; secretKeyRef?: { name: string; key: string } }
}

export interface Container {
  name: string
  image: string
  args: string[]
  env: EnvironmentVariable[]
  ports: { name: string; containerPort: number; hostIP?: string; hostPort?: number }[]
  volumeMounts: { name: string; mountPath: string }[]
  startupProbe: Probe
  livenessProbe: Probe
  readinessProbe: Probe
  lifecycle: { preStop: { exec: { command: string[] } } }
  securityContext: object
}

export interface PodSpec {
  containers: Container[]
  volumes: ({ name: string } & Record<string, unknown>)[]
  securityContext: { runAsNonRoot: boolean; seccompProfile: { type: string } }
  topologySpreadConstraints: { labelSelector: { matchLabels: Labels } }[]
  automountServiceAccountToken: boolean
  terminationGracePeriodSeconds: number
}

interface StatefulSet extends Manifest {
  spec: {
    replicas: number
    serviceName: string
    selector: { matchLabels: Labels }
    template: { metadata: { labels: Labels; annotations: Labels }; spec: PodSpec }
    volumeClaimTemplates: { metadata: { name: string }; spec: object }[]
  }
}

/** What the manifests say about the pods of the StatefulSet. */
export interface NodeTemplate {
  replicas: number
  serviceName: string
  selector: { matchLabels: Labels }
  labels: Labels
  annotations: Labels
  spec: PodSpec
  container: Container
  claims: { metadata: { name: string }; spec: object }[]
  /** The text of shoalmq.yaml, as the ConfigMap has it. */
  configFile: string
}

/** Reads the one StatefulSet and its ConfigMap. */
export function nodeTemplate(manifests: readonly Manifest[]): NodeTemplate {
  const set = manifests.find(({ kind }) => kind === 'StatefulSet') as StatefulSet | undefined
  const config = manifests.find(({ kind }) => kind === 'ConfigMap') as
    | (Manifest & { data: Record<string, string> })
    | undefined
  if (set === undefined || config === undefined) throw new Error('no StatefulSet or no ConfigMap')
  const { replicas, serviceName, selector, template, volumeClaimTemplates } = set.spec
  const [container, ...others] = template.spec.containers
  if (container === undefined || others.length > 0) throw new Error('a pod has one container')
  return {
    replicas,
    serviceName,
    selector,
    labels: template.metadata.labels,
    annotations: template.metadata.annotations,
    spec: template.spec,
    container,
    claims: volumeClaimTemplates,
    configFile: config.data['shoalmq.yaml'] ?? '',
  }
}

/** The pod's environment as the kubelet makes it: fields and secrets looked up, then `$(NAME)` of earlier variables. */
export function podEnvironment(
  { container }: NodeTemplate,
  pod: { name: string; namespace: string; secret: string },
): Record<string, string> {
  const environment: Record<string, string> = {}
  for (const { name, value, valueFrom } of container.env) {
    if (valueFrom?.secretKeyRef !== undefined) environment[name] = pod.secret
    else if (valueFrom?.fieldRef?.fieldPath === 'metadata.name') environment[name] = pod.name
    else if (valueFrom?.fieldRef?.fieldPath === 'metadata.namespace') environment[name] = pod.namespace
    else if (value === undefined) throw new Error(`${name}: unknown source ${JSON.stringify(valueFrom)}`)
    else
      environment[name] = value.replace(/\$\(([A-Z_]+)\)/g, (reference, key: string) => environment[key] ?? reference)
  }
  return environment
}
