/** docs/configuration.md, from the catalog of options. */

import { CATALOG, type CatalogEntry, LISTENER_CATALOG } from '../../../src/config/catalog.js'

const INTRODUCTION = `# Configuration

<!-- Generated from src/config/options.ts by npm run docs:generate. Do not edit. -->

Every option has a key in the configuration file, an environment variable, and some have a flag of \`shoalmq start\`. Later
sources win: defaults, file (\`--config\` or \`SHOALMQ_CONFIG\`, YAML or JSON), environment, flags. All of it is checked
together before anything starts, and all problems are listed at once; \`shoalmq config check\` does only that, and
\`shoalmq config show\` prints what a node would run with.

- **Durations** are whole numbers with \`ms\`, \`s\`, \`m\`, \`h\` or \`d\`; a bare number is milliseconds.
- **Sizes** are whole numbers with \`b\`, \`kb\`, \`mb\` or \`gb\` (powers of 1024); a bare number is bytes.
- **Lists** are YAML lists in the file, and separated by commas in the environment and in flags; names with
  a word each are a YAML map, and \`name=word\` separated by commas in the environment.
- **Environment**: \`__\` stands between levels, and \`_\` within a level may be left out. Unknown \`SHOALMQ_\` variables are
  errors, except those that Kubernetes makes for a Service of that name (\`SHOALMQ_SERVICE_HOST\` and so on).
- **Unknown keys** are errors too, with the nearest known one as a hint.

## Safe by default

Without more being said, a node serves its own machine only. These are refused until they are written down:

- a listener that is not on loopback, without \`allowAnonymous: true\`, unless its clients have to prove who they are
  (\`access.usersFile\`, \`tls.verify: required\`, or pre-shared keys only);
- a cluster port that is not on loopback, without \`cluster.secret\` or \`cluster.secretFile\`.

The secret is never a flag and never printed. The admin port has no login: think before moving it off loopback.

## Example

\`\`\`yaml
name: n1@10.0.0.11
data: /var/lib/shoalmq
listen:
  - mqtt://0.0.0.0:1883
  - ws://0.0.0.0:8083/mqtt
allowAnonymous: true
cluster:
  listen: 0.0.0.0:5370
  secretFile: /run/secrets/shoalmq
  seeds:
    - 10.0.0.12:5370
    - 10.0.0.13:5370
\`\`\`
`

const LISTENERS = `## Listeners

What an entry of \`listen\` may say when it is an object rather than a URL, in the file:

\`\`\`yaml
tls:
  certFile: /etc/shoalmq/tls/tls.crt
  keyFile: /etc/shoalmq/tls/tls.key
listen:
  - mqtt://127.0.0.1:1883
  - mqtts://0.0.0.0:8883          # shows the certificate of tls above
  - url: mqtts://0.0.0.0:8884     # mutual TLS: the certificate says who the client is
    tls:
      certFile: /etc/shoalmq/tls/tls.crt
      keyFile: /etc/shoalmq/tls/tls.key
      caFile: /etc/shoalmq/devices-ca.crt
      verify: required
      peerCertAs:
        clientId: cn
  - url: wss://0.0.0.0:8084/mqtt
    maximumConnections: 5000
    allowedOrigins:
      - https://app.example.com
allowAnonymous: true
\`\`\`
`

const GROUP_TITLES: Readonly<Record<string, string>> = {
  '': 'The node',
  store: 'The store',
  'store.redis': 'Redis',
  'store.redis.tls': 'TLS to Redis',
  tls: 'TLS',
  'tls.peerCertAs': 'Names from client certificates',
  access: 'Access',
  admin: 'Admin server',
  cluster: 'Cluster',
  'cluster.tls': 'TLS between nodes',
  'cluster.dns': 'Discovery by DNS',
  'cluster.mcast': 'Discovery by multicast',
  'cluster.etcd': 'Discovery by etcd',
  'cluster.k8s': 'Discovery by the Kubernetes API',
  'cluster.handoff': 'What peers that are down are owed',
  mqtt: 'MQTT',
  'mqtt.overload': 'Overload',
  sys: 'System topics',
  drain: 'Draining',
  log: 'Logs',
}

export function configurationPage(): string {
  const groups = new Map<string, CatalogEntry[]>()
  for (const entry of CATALOG) {
    const group = entry.path.slice(0, -1).join('.')
    groups.set(group, [...(groups.get(group) ?? []), entry])
  }
  const sections = [...groups].map(([group, entries]) => {
    const title = GROUP_TITLES[group] ?? group
    return `## ${title}\n\n${entries.map(entryText).join('\n')}`
  })
  const [ofNode = '', ...ofRest] = sections
  return [INTRODUCTION, ofNode, LISTENERS, LISTENER_CATALOG.map(listenerText).join('\n'), ...ofRest].join('\n')
}

function entryText(entry: CatalogEntry): string {
  const { environmentName, flag } = entry
  return optionText(entry, [`\`${environmentName}\``, ...(flag === undefined ? [] : [`\`${flag}\``])])
}

/** What stands in a list has no variable and no flag. */
function listenerText(entry: CatalogEntry): string {
  return optionText(entry, [])
}

function optionText({ key, help, fallback, accepted }: CatalogEntry, names: readonly string[]): string {
  const facts = [fallback === '' ? 'default: empty' : `default \`${fallback}\``, `accepts ${accepted}`, ...names]
  return `### \`${key}\`\n\n${help}\n\n${facts.join(' · ')}\n`
}
