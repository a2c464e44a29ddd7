/** Says whether one input does harm to a node. */

import type { TestCluster } from '../support/cluster.js'
import type { NodeProcess } from '../support/node-process.js'
import { HealthyPair } from './healthy-pair.js'
import type { Transport } from './inputs.js'
import { Thrower } from './thrower.js'

/** pino's number of `error`. */
const ERROR_LEVEL = 50

/** @throws what is wrong with a node that inputs are thrown at. */
export function checkRunning(node: NodeProcess, thrower: Thrower, pair: HealthyPair): void {
  if (!node.isRunning) throw new Error(`the node has ended:\n${node.lastLines()}`)
  const text = node.text()
  if (/uncaught|unhandled/i.test(text)) throw new Error(`an uncaught error:\n${node.lastLines()}`)
  const [line] = node.logs().filter(({ level }) => level >= ERROR_LEVEL)
  if (line !== undefined) throw new Error(`the node has logged an error: ${JSON.stringify(line)}`)
  pair.check()
  thrower.check()
}

/** Throws inputs at a node one by one. */
export class Judge {
  private cluster: TestCluster | undefined

  constructor(private readonly startNode: () => Promise<TestCluster>) {}

  /** What goes wrong with these bytes; undefined when nothing does. A node that was harmed is not used again. */
  async failureOf(bytes: Buffer, transport: Transport): Promise<unknown> {
    this.cluster ??= await this.startNode()
    const node = this.cluster.node(1)
    const thrower = new Thrower({ tcp: node.ports.mqtt, websocket: node.ports.ws }, 1)
    try {
      await thrower.throw(0, { version: 5, chunks: [], wire: [bytes], transport, ending: 'end', isDeaf: false })
      await thrower.drained()
      // Whoever has died of it is noticed by the next one.
      const pair = await HealthyPair.connect(node.ports.mqtt)
      checkRunning(node, thrower, pair)
      await pair.stop()
      checkRunning(node, thrower, pair)
      return undefined
    } catch (error) {
      thrower.stop()
      await this.stop()
      return error
    }
  }

  async stop(): Promise<void> {
    await this.cluster?.stop().catch(() => undefined)
    this.cluster = undefined
  }
}
