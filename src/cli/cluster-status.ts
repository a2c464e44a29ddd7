/** `shoalmq cluster status`: the nodes of the cluster as one of them sees it. */

import type { ClusterStatus, NodeState, NodeStatus } from '../cluster/status.js'
import { fetchClusterStatus } from './admin-client.js'
import { type Column, formatTable } from './table.js'
import { formatUptime } from './uptime.js'

/** Stopped nodes come last. */
const STATE_ORDER: readonly NodeState[] = ['running', 'joining', 'suspect', 'stopped']

/** What there is nothing to say about. */
const NOTHING = '-'

const COLUMNS: readonly Column<NodeStatus>[] = [
  { title: 'NODE', read: (node) => node.name },
  { title: 'STATUS', read: statusOf },
  { title: 'VERSION', read: (node) => node.version || NOTHING },
  { title: 'UPTIME', read: (node) => (isGone(node) ? NOTHING : formatUptime(node.uptime)), alignRight: true },
  { title: 'CONNECTIONS', read: (node) => (isGone(node) ? NOTHING : String(node.connections)), alignRight: true },
  { title: 'ROUTES', read: (node) => String(node.routes), alignRight: true },
  { title: 'LINK', read: (node) => node.link },
  { title: 'RTT', read: (node) => (node.rtt === null ? NOTHING : `${node.rtt.toFixed(1)} ms`), alignRight: true },
]

export interface ClusterStatusOptions {
  /** host:port of a node's admin server. */
  admin: string
  /** Print the node's answer as it is. */
  json?: boolean | undefined
}

/** @throws CliError when no node answers. */
export async function clusterStatus({ admin, json }: ClusterStatusOptions): Promise<string> {
  const status = await fetchClusterStatus(admin)
  return json === true ? JSON.stringify(status, undefined, 2) : renderStatus(status)
}

/** One line about the cluster, then the table: running nodes first, stopped ones last, each by name; then the alarms. */
export function renderStatus(status: ClusterStatus): string {
  const running = status.nodes.filter((node) => node.state === 'running').length
  const stopped = status.nodes.filter((node) => node.state === 'stopped').length
  const counts = [`${running} running`, ...(stopped > 0 ? [`${stopped} stopped`] : [])].join(', ')
  const readiness = status.ready ? '' : ', not ready'
  const apart = status.apart === true ? '; it has left the cluster and serves alone' : ''
  const title = `Cluster ${status.cluster}: ${counts} (as ${status.node} sees it${readiness}${apart})`
  const alarms = (status.alarms ?? []).map(({ alarm, detail }) => `ALARM ${alarm}: ${detail}`)
  const table = formatTable(COLUMNS, [...status.nodes].sort(inOrder))
  return [title, '', ...table, ...(alarms.length > 0 ? ['', ...alarms] : [])].join('\n')
}

function inOrder(left: NodeStatus, right: NodeStatus): number {
  const byState = STATE_ORDER.indexOf(left.state) - STATE_ORDER.indexOf(right.state)
  return byState !== 0 ? byState : left.name.localeCompare(right.name, 'en', { numeric: true })
}

function isGone(node: NodeStatus): boolean {
  return node.state === 'stopped'
}

function statusOf({ state, reason, draining }: NodeStatus): string {
  const why = reason ?? (draining === true ? 'draining' : undefined)
  return why === undefined ? state : `${state} (${why})`
}
