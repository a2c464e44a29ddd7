/** The replicated maps of a node, which tell the time by one clock and keep themselves in one store; also of a node without peers. */

import type { Replica } from '../broker/ports.js'
import type { Store } from '../broker/store-port.js'
import { NodeError } from '../util/errors.js'
import { HybridClock } from './hybrid-clock.js'
import { ReplicatedMap } from './replicated-map.js'

/** How often values that have ended and tombstones that are old are looked for. */
const PURGE_INTERVAL_MS = 10_000

export interface ReplicatedMapsModules {
  /** This node's name. */
  node: string
  /** No write of this life is earlier. */
  incarnation: number
  store?: Store | undefined
  /** This node wrote a key: every peer is to be told. */
  onWritten?: (map: ReplicatedMap, key: string) => void
}

export class ReplicatedMaps {
  readonly byName = new Map<string, ReplicatedMap>()
  private readonly clock: HybridClock
  private timer: NodeJS.Timeout | undefined

  constructor(private readonly modules: ReplicatedMapsModules) {
    this.clock = new HybridClock(Date.now, modules.incarnation)
  }

  /**
   * Makes a map, before the store is loaded.
   * @param onChange gets what other nodes wrote, as it becomes known here, what the store has kept, and what has ended
   * @param deadlineOf when a value ends by itself, in milliseconds since the epoch; 0 when it does not
   * @throws NodeError MAP_EXISTS when the name is taken
   */
  replica(
    name: string,
    onChange: (key: string, value: Buffer | undefined) => void,
    deadlineOf: (value: Buffer) => number = () => 0,
  ): Replica {
    if (this.byName.has(name)) throw new NodeError(`there is a map ${name} already`, { code: 'MAP_EXISTS', map: name })
    const { node, store, onWritten } = this.modules
    const map: ReplicatedMap = new ReplicatedMap(name, {
      node,
      clock: this.clock,
      onChange,
      deadlineOf,
      onWritten: (key) => onWritten?.(map, key),
      store,
    })
    this.byName.set(name, map)
    return map
  }

  start(): void {
    this.timer ??= setInterval(() => {
      for (const map of this.byName.values()) map.purge(Date.now())
    }, PURGE_INTERVAL_MS)
  }

  /** Idempotent. */
  stop(): void {
    clearInterval(this.timer)
    this.timer = undefined
  }
}
