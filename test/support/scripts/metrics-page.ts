/** docs/metrics.md, from the metrics that a node registers. */

export interface MetricFacts {
  name: string
  type: string
  help: string
}

const OWN_PREFIX = 'shoalmq_'

const INTRODUCTION = `# Metrics

<!-- Generated from the metrics of a node by npm run docs:generate. Do not edit. -->

Every node answers \`GET /metrics\` on its admin port in the format of Prometheus. Labels come from closed sets: reasons,
packet types, peers; never client IDs or topics.
`

export function metricsPage(metrics: readonly MetricFacts[]): string {
  const sorted = [...metrics].sort((left, right) => left.name.localeCompare(right.name, 'en'))
  const own = sorted.filter(({ name }) => name.startsWith(OWN_PREFIX))
  const process = sorted.filter(({ name }) => !name.startsWith(OWN_PREFIX))
  return [
    INTRODUCTION,
    `## ShoalMQ\n\n${table(own)}`,
    `## Process and Node.js\n\nUnder the names that dashboards for Node.js expect.\n\n${table(process)}`,
  ].join('\n')
}

function table(metrics: readonly MetricFacts[]): string {
  const rows = metrics.map(({ name, type, help }) => `| \`${name}\` | ${type} | ${help.replaceAll('|', '\\|')} |`)
  return ['| metric | type | meaning |', '| --- | --- | --- |', ...rows, ''].join('\n')
}
