import { createRequire } from 'node:module'

/** A Kubernetes object as its manifest says it. */
export interface Manifest {
  apiVersion: string
  kind: string
  metadata: { name: string; labels?: Record<string, string> }
  [field: string]: unknown
}

interface SchemaError {
  instancePath: string
  message?: string
  keyword: string
  params: Record<string, unknown>
}

/** A JSON schema of the Kubernetes API, compiled by ajv, as `kubernetes-models` ships them. */
interface Validator {
  (data: unknown): boolean
  errors?: SchemaError[] | null
}

/** The schema of each kind that we use; another kind is an error here until it is added. */
const SCHEMA_NAMES: Readonly<Record<string, string>> = {
  'v1/ConfigMap': 'IoK8sApiCoreV1ConfigMap',
  'v1/Secret': 'IoK8sApiCoreV1Secret',
  'v1/Service': 'IoK8sApiCoreV1Service',
  'apps/v1/StatefulSet': 'IoK8sApiAppsV1StatefulSet',
  'policy/v1/PodDisruptionBudget': 'IoK8sApiPolicyV1PodDisruptionBudget',
  'networking.k8s.io/v1/NetworkPolicy': 'IoK8sApiNetworkingV1NetworkPolicy',
}

// The compiled schemas are no public entry of the package; its public classes would copy what they are given.
const load = createRequire(createRequire(import.meta.url).resolve('kubernetes-models'))

/**
 * What the Kubernetes schemas say against a manifest, a line each; none when it is valid. A field that no schema knows
 * is a problem too, as it is for the API server's strict validation: it is a typing error that does nothing.
 */
export function problemsOf(manifest: Manifest): string[] {
  const kind = `${manifest.apiVersion}/${manifest.kind}`
  const name = SCHEMA_NAMES[kind]
  if (name === undefined) return [`${kind}: no schema is known here`]
  const { validate } = load(`./_schemas/${name}.js`) as { validate: Validator }
  const watch = new FieldWatch()
  const isValid = validate(watch.of(manifest, ''))
  const errors = isValid ? [] : (validate.errors ?? [])
  return [
    ...errors.map(({ instancePath, message, keyword, params }) => {
      return `${instancePath || '/'}: ${message ?? keyword} ${JSON.stringify(params)}`
    }),
    ...watch.unread().map((path) => `${path}: unknown field`),
  ]
}

/**
 * The published schemas do not forbid unknown fields. Their validators read every field they know, and walk over those
 * of maps: so what was never read of an object that was looked into is not in its schema.
 */
class FieldWatch {
  private readonly fields = new Map<string, boolean>()

  of(value: unknown, path: string): unknown {
    if (typeof value !== 'object' || value === null) return value
    for (const key of Object.keys(value)) {
      const field = `${path}/${key}`
      if (!this.fields.has(field)) this.fields.set(field, false)
    }
    return new Proxy(value, {
      get: (target, key, receiver) => {
        const inner: unknown = Reflect.get(target, key, receiver)
        if (typeof key !== 'string' || !Object.hasOwn(target, key)) return inner
        this.fields.set(`${path}/${key}`, true)
        return this.of(inner, `${path}/${key}`)
      },
    })
  }

  unread(): string[] {
    return [...this.fields].filter(([, isRead]) => !isRead).map(([path]) => path)
  }
}
