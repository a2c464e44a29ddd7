/** docs/configuration.md, from the catalog of options. */

import { CATALOG, type CatalogEntry } from '../../../src/config/catalog.js'

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

- a listener that is not on loopback, without \`allowAnonymous: true\`;
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

const GROUP_TITLES: Readonly<Record<string, string>> = {
  '': 'The node',
  admin: 'Admin server',
  cluster: 'Cluster',
  'cluster.dns': 'Discovery by DNS',
  mqtt: 'MQTT',
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
  return [INTRODUCTION, ...sections].join('\n')
}

function entryText(entry: CatalogEntry): string {
  const facts = [
    entry.fallback === '' ? 'default: empty' : `default \`${entry.fallback}\``,
    `accepts ${entry.accepted}`,
    `\`${entry.environmentName}\``,
    ...(entry.flag === undefined ? [] : [`\`${entry.flag}\``]),
  ]
  return `### \`${entry.key}\`\n\n${entry.help}\n\n${facts.join(' · ')}\n`
}
