/** What an operator asks a running node: `clients`, `subscriptions`, `routes`, and the cluster by hand. */

import { type Command, Option } from 'commander'
import type { RouteDescription, RouteVerification } from '../admin/api.js'
import type { Page } from '../admin/page.js'
import type { ClientDescription, SubscriptionDescription } from '../broker/client-list.js'
import type { DelayedDescription } from '../broker/delayed.js'
import type { Alarm } from '../telemetry/alarms.js'
import { ADMIN_VARIABLE, type AdminRequest, askNode, DEFAULT_ADMIN } from './admin-client.js'
import { EXIT_CODES, type ExitCode } from './cli-error.js'
import { wholeNumber } from './mqtt-flags.js'
import { type Column, formatTable } from './table.js'

export interface CommandEnvironment {
  print(text: string): void
  exitWith(code: ExitCode): void
}

interface NodeFlags {
  admin: string
  json?: true
}

interface PageFlags extends NodeFlags {
  page: number
  limit: number
}

const NOTHING = '-'

const CLIENT_COLUMNS: readonly Column<ClientDescription>[] = [
  { title: 'CLIENT', read: (client) => client.clientId },
  { title: 'USER', read: (client) => client.username ?? NOTHING },
  { title: 'STATE', read: (client) => (client.connected ? 'connected' : 'away') },
  { title: 'ADDRESS', read: (client) => client.address || NOTHING },
  { title: 'PROTOCOL', read: (client) => client.protocol || NOTHING },
  { title: 'SUBSCRIPTIONS', read: (client) => String(client.subscriptions), alignRight: true },
  { title: 'QUEUED', read: (client) => String(client.queued), alignRight: true },
  { title: 'IN FLIGHT', read: (client) => String(client.inFlight), alignRight: true },
]

const SUBSCRIPTION_COLUMNS: readonly Column<SubscriptionDescription>[] = [
  { title: 'CLIENT', read: (one) => one.clientId },
  { title: 'FILTER', read: (one) => one.filter },
  { title: 'QOS', read: (one) => String(one.qos), alignRight: true },
]

const DELAYED_COLUMNS: readonly Column<DelayedDescription>[] = [
  { title: 'ID', read: (one) => String(one.id), alignRight: true },
  { title: 'DUE', read: (one) => one.due },
  { title: 'TOPIC', read: (one) => one.topic },
  { title: 'QOS', read: (one) => String(one.qos), alignRight: true },
  { title: 'PUBLISHER', read: (one) => one.publisher || NOTHING },
  { title: 'BYTES', read: (one) => String(one.bytes), alignRight: true },
]

const ROUTE_COLUMNS: readonly Column<RouteDescription>[] = [
  { title: 'FILTER', read: (route) => route.filter },
  { title: 'NODE', read: (route) => route.node },
  { title: 'MEMBERS', read: (route) => membersOf(route), alignRight: true },
]

const VERIFICATION_COLUMNS: readonly Column<RouteVerification>[] = [
  { title: 'NODE', read: (one) => one.node },
  { title: 'HERE', read: (one) => String(one.here), alignRight: true },
  { title: 'ANNOUNCED', read: (one) => String(one.announced), alignRight: true },
  { title: 'IN STEP', read: (one) => (one.inStep ? 'yes' : 'no') },
]

const ALARM_COLUMNS: readonly Column<Alarm>[] = [
  { title: 'ALARM', read: (one) => one.alarm },
  { title: 'SEVERITY', read: (one) => one.severity },
  { title: 'SUBJECT', read: (one) => one.subject },
  { title: 'SINCE', read: (one) => one.since },
  { title: 'DETAIL', read: (one) => one.detail },
]

/** An option that names the node to ask. */
export function adminOption(): Option {
  return new Option('--admin <host:port>', "a node's admin address").env(ADMIN_VARIABLE).default(DEFAULT_ADMIN)
}

export function addAdminCommands(program: Command, cluster: Command, environment: CommandEnvironment): void {
  addClientCommands(program.command('clients').description('the clients of a running node'), environment)
  addSubscriptionCommands(
    program.command('subscriptions').description('the subscriptions of a running node'),
    environment,
  )
  addRouteCommands(
    program.command('routes').description('which nodes want which topics, as a node knows it'),
    environment,
  )
  addDelayedCommands(
    program.command('delayed').description('the messages of a running node that wait for their time'),
    environment,
  )
  addAlarmCommands(program.command('alarms').description('what is wrong, as a running node sees it'), environment)
  addClusterCommands(cluster, environment)
  addDrainCommands(program.command('node').description('a running node itself'), environment)
}

function addClientCommands(clients: Command, environment: CommandEnvironment): void {
  addPageFlags(clients.command('list').description('list sessions, those of clients that are away included'))
    .option('--like <text>', 'those whose client ID contains this')
    .option('--username <name>', 'those of one user')
    .option('--address <ip>', 'those from one IP address')
    .addOption(new Option('--connected <yes>', 'only connected ones, or only those away').choices(['true', 'false']))
    .action(async (flags: PageFlags & { like?: string; username?: string; address?: string; connected?: string }) => {
      const { like, username, address, connected } = flags
      await printPage(
        flags,
        { path: 'clients', parameters: { like, username, address, connected } },
        CLIENT_COLUMNS,
        environment,
      )
    })
  addNodeFlags(clients.command('show <clientId>').description('show one session')).action(
    async (clientId: string, flags: NodeFlags) => {
      const client = (await askNode(flags.admin, {
        path: `clients/${encodeURIComponent(clientId)}`,
      })) as ClientDescription
      environment.print(flags.json === true ? toJson(client) : describeFields(client))
    },
  )
  addNodeFlags(
    clients.command('kick <clientId>').description('close the connection of a client; its session stays'),
  ).action(async (clientId: string, flags: NodeFlags) => {
    const path = `clients/${encodeURIComponent(clientId)}`
    const answer = await askNode(flags.admin, { method: 'DELETE', path })
    environment.print(flags.json === true ? toJson(answer) : `${clientId} is closed`)
  })
}

function addSubscriptionCommands(subscriptions: Command, environment: CommandEnvironment): void {
  addPageFlags(subscriptions.command('list').description('list subscriptions'))
    .option('--client <clientId>', 'those of one client')
    .option('--filter <filter>', 'those with exactly this topic filter')
    .option('--topic <topic>', 'those that match this topic name')
    .action(async (flags: PageFlags & { client?: string; filter?: string; topic?: string }) => {
      const { client, filter, topic } = flags
      await printPage(
        flags,
        { path: 'subscriptions', parameters: { client, filter, topic } },
        SUBSCRIPTION_COLUMNS,
        environment,
      )
    })
}

function addRouteCommands(routes: Command, environment: CommandEnvironment): void {
  addPageFlags(routes.command('list').description('list routes'))
    .option('--node <name>', 'those of one node')
    .option('--topic <topic>', 'those that match this topic name')
    .action(async (flags: PageFlags & { node?: string; topic?: string }) => {
      const { node, topic } = flags
      await printPage(flags, { path: 'routes', parameters: { node, topic } }, ROUTE_COLUMNS, environment)
    })
  addNodeFlags(
    routes.command('verify').description('compare the routes of each peer with what it announces; 1 when they differ'),
  ).action(async (flags: NodeFlags) => {
    const answer = (await askNode(flags.admin, { path: 'routes/verify' })) as {
      inStep: boolean
      nodes: RouteVerification[]
    }
    environment.print(flags.json === true ? toJson(answer) : formatTable(VERIFICATION_COLUMNS, answer.nodes).join('\n'))
    if (!answer.inStep) environment.exitWith(EXIT_CODES.failure)
  })
}

function addDelayedCommands(delayed: Command, environment: CommandEnvironment): void {
  addPageFlags(delayed.command('list').description('list messages with a delay, the next one first'))
    .option('--topic <filter>', 'those whose topic name matches this filter')
    .option('--publisher <clientId>', 'those of one client')
    .action(async (flags: PageFlags & { topic?: string; publisher?: string }) => {
      const { topic, publisher } = flags
      await printPage(flags, { path: 'delayed', parameters: { topic, publisher } }, DELAYED_COLUMNS, environment)
    })
  addNodeFlags(delayed.command('cancel <id>').description('a message is never published')).action(
    async (id: string, flags: NodeFlags) => {
      const answer = await askNode(flags.admin, { method: 'DELETE', path: `delayed/${encodeURIComponent(id)}` })
      environment.print(flags.json === true ? toJson(answer) : `message ${id} is cancelled`)
    },
  )
}

function addAlarmCommands(alarms: Command, environment: CommandEnvironment): void {
  addPageFlags(alarms.command('list').description('list the alarms that are raised, the oldest first'))
    .option('--alarm <name>', 'those of one name')
    .action(async (flags: PageFlags & { alarm?: string }) => {
      await printPage(flags, { path: 'alarms', parameters: { alarm: flags.alarm } }, ALARM_COLUMNS, environment)
    })
}

function addClusterCommands(cluster: Command, environment: CommandEnvironment): void {
  addNodeFlags(
    cluster
      .command('join [host:port]')
      .description('dial the cluster port of another node, until it answers; without one: end a `leave`'),
  ).action(async (address: string | undefined, flags: NodeFlags) => {
    const answer = await askNode(flags.admin, { method: 'POST', path: 'cluster/join', parameters: { address } })
    const what = address === undefined ? 'joining again' : `dialing ${address}`
    environment.print(
      flags.json === true ? toJson(answer) : `${what}; \`shoalmq cluster status\` shows when it is linked`,
    )
  })
  addNodeFlags(
    cluster
      .command('leave')
      .description('the node lets its clients go, leaves the cluster and serves alone until `cluster join`'),
  ).action(async (flags: NodeFlags) => {
    const answer = await askNode(flags.admin, { method: 'POST', path: 'cluster/leave' })
    environment.print(
      flags.json === true ? toJson(answer) : 'leaving; `shoalmq cluster status` shows when the node is alone',
    )
  })
  addNodeFlags(
    cluster.command('forget <node>').description('remove a node that has stopped and will not come back'),
  ).action(async (node: string, flags: NodeFlags) => {
    const path = `cluster/nodes/${encodeURIComponent(node)}`
    const answer = await askNode(flags.admin, { method: 'DELETE', path })
    environment.print(flags.json === true ? toJson(answer) : `${node} is forgotten`)
  })
}

function addDrainCommands(node: Command, { print }: CommandEnvironment): void {
  addNodeFlags(
    node
      .command('drain')
      .description(
        'take no new clients, close those there are, so many a second, and hand their sessions to other nodes',
      ),
  ).action(async (flags: NodeFlags) => {
    const answer = await askNode(flags.admin, { method: 'POST', path: 'node/drain' })
    print(
      flags.json === true
        ? toJson(answer)
        : 'draining; `shoalmq cluster status` shows its connections, `shoalmq clients list` the sessions that are left, `shoalmq node undrain` ends it',
    )
  })
  addNodeFlags(node.command('undrain').description('let clients come again')).action(async (flags: NodeFlags) => {
    const answer = await askNode(flags.admin, { method: 'DELETE', path: 'node/drain' })
    print(flags.json === true ? toJson(answer) : 'clients are let in')
  })
}

function addNodeFlags(command: Command): Command {
  return command.addOption(adminOption()).option('--json', 'print JSON')
}

function addPageFlags(command: Command): Command {
  return addNodeFlags(command)
    .option('--page <number>', 'which page', wholeNumber(1, 1_000_000_000), 1)
    .option('--limit <count>', 'rows of a page', wholeNumber(1, 10_000), 100)
}

async function printPage<Row>(
  { admin, json, page, limit }: PageFlags,
  { path, parameters }: AdminRequest,
  columns: readonly Column<Row>[],
  { print }: CommandEnvironment,
): Promise<void> {
  const answer = (await askNode(admin, { path, parameters: { ...parameters, page, limit } })) as Page<Row>
  if (json === true) return print(toJson(answer))
  print(formatTable(columns, answer.data).join('\n'))
  const first = (answer.page - 1) * answer.limit + 1
  if (answer.data.length === 0 && answer.count > 0) print(`\nnothing on page ${answer.page}: there are ${answer.count}`)
  else if (answer.data.length < answer.count)
    print(`\n${first} to ${first + answer.data.length - 1} of ${answer.count}`)
}

/** One line per field. */
function describeFields(object: object): string {
  const entries = Object.entries(object)
  const width = Math.max(...entries.map(([name]) => name.length))
  return entries
    .map(([name, value]) => `${name.padEnd(width)}   ${value === '' || value === null ? NOTHING : value}`)
    .join('\n')
}

function toJson(value: unknown): string {
  return JSON.stringify(value, undefined, 2)
}

/** Of a shared subscription, `connected/all`. */
function membersOf({ connected, members }: RouteDescription): string {
  return members === undefined ? NOTHING : `${connected ?? 0}/${members}`
}
