/** Nodes and the network between them: of namespaces where these can be made, else of proxies. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../support/free-port.js'
import { type ConfigTree, NodeProcess } from '../../support/node-process.js'
import type { Wires } from '../mesh/nemesis.js'
import { Network, networkProblem } from '../mesh/network.js'
import { FAULT_KINDS, type FaultKind, FURTHER_FAULT_KINDS } from '../mesh/schedule.js'
import type { StoreKind } from './guarantees.js'
import { ProxyWires } from './proxy-wires.js'

const PORTS = { mqtt: 1883, ws: 8083, admin: 18083, cluster: 5370 }
/** What waits for a client that is away during the longest fault is well below it. */
export const QUEUE_LENGTH = 20_000

export interface ArenaOptions {
  readonly nodes: number
  readonly seed: number
  readonly store: StoreKind
  /** Proxies, although namespaces may be there. */
  readonly isBehindProxies?: boolean
  /** Of each node process. */
  readonly environment: Record<string, string>
}

export interface Arena {
  readonly nodes: readonly NodeProcess[]
  readonly wires: Wires
  /** What can be done to them here. */
  readonly faults: readonly FaultKind[]
  /** Why there are no namespaces; undefined when there are. */
  readonly problem: string | undefined
  /** Ends the nodes and removes everything. */
  stop(): Promise<void>
}

/** `pair` is a check of views more than of deliveries, and takes its time; proxies have neither directions nor delays. */
const NETWORK_FAULTS: readonly FaultKind[] = [...FAULT_KINDS, ...FURTHER_FAULT_KINDS].filter((kind) => kind !== 'pair')
const PROXY_FAULTS: readonly FaultKind[] = NETWORK_FAULTS.filter((kind) => kind !== 'slow' && kind !== 'one-way')

/** Makes everything and starts nothing. */
export async function createArena(options: ArenaOptions): Promise<Arena> {
  const problem = options.isBehindProxies === true ? 'proxies are asked for' : networkProblem()
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-history-'))
  const parts = problem === undefined ? await inNamespaces(options, directory) : await behindProxies(options, directory)
  return {
    ...parts,
    problem,
    async stop() {
      for (const node of parts.nodes) if (node.isRunning) await node.kill()
      await parts.wires.stop()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

interface Parts {
  nodes: NodeProcess[]
  wires: Wires & { stop(): Promise<void> }
  faults: readonly FaultKind[]
}

function configOf({ store }: ArenaOptions, cluster: ConfigTree): ConfigTree {
  return {
    allowAnonymous: true,
    cluster: { secret: 'a-secret-of-the-chaos-run', ...cluster },
    // A machine that is busy with a whole cluster is no reason to refuse clients.
    mqtt: { queueLength: QUEUE_LENGTH, overload: { loopDelay: '10s' } },
    drain: { handover: '8s' },
    store: { kind: store },
  }
}

async function inNamespaces(options: ArenaOptions, directory: string): Promise<Parts> {
  const wires = await Network.create(options.nodes, options.seed)
  const numbers = Array.from({ length: options.nodes }, (_, index) => index + 1)
  const addressOf = (number: number): string => `${wires.address(number)}:${PORTS.cluster}`
  const nodes = numbers.map(
    (number) =>
      new NodeProcess({
        name: `n${number}@${wires.address(number)}`,
        directory: join(directory, `n${number}`),
        ports: PORTS,
        seeds: numbers.filter((other) => other !== number).map(addressOf),
        config: configOf(options, {}),
        environment: options.environment,
        launcher: wires.command(number),
      }),
  )
  return { nodes, wires, faults: NETWORK_FAULTS }
}

async function behindProxies(options: ArenaOptions, directory: string): Promise<Parts> {
  const host = '127.0.0.1'
  const ports = await Promise.all(
    Array.from({ length: options.nodes }, async () => ({
      mqtt: await freePort(host),
      ws: await freePort(host),
      admin: await freePort(host),
      cluster: await freePort(host),
    })),
  )
  const wires = new ProxyWires(ports.map(({ cluster }) => cluster))
  await wires.start()
  const nodes = ports.map((own, index) => {
    const number = index + 1
    const others = ports.flatMap((_, other) => (other === index ? [] : [wires.address(other + 1)]))
    return new NodeProcess({
      name: `n${number}@${host}`,
      directory: join(directory, `n${number}`),
      ports: own,
      seeds: others,
      config: configOf(options, { advertise: wires.address(number) }),
      environment: options.environment,
    })
  })
  return { nodes, wires, faults: PROXY_FAULTS }
}
