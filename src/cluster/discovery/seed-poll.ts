/** Asks a server for the addresses of the nodes, again and again: at its interval while it answers, with growing pauses while not. */

import type { Logger } from '../../telemetry/logger.js'
import { Backoff } from '../../util/backoff.js'
import type { DiscoveryMetrics } from './metrics.js'
import { Outage } from './outage.js'

const FIRST_RETRY_MS = 500
const LONGEST_RETRY_MS = 15_000

export interface SeedPollModules {
  /** One round: the addresses of all nodes. May reject; the signal ends it when the search stops. */
  ask: (signal: AbortSignal) => Promise<readonly string[]>
  metrics: DiscoveryMetrics
  log: Logger
}

export class SeedPoll {
  private readonly outage: Outage
  private readonly backoff = new Backoff({ initialMs: FIRST_RETRY_MS, maximumMs: LONGEST_RETRY_MS })
  private known: readonly string[] = []
  private timer: NodeJS.Timeout | undefined
  private running: AbortController | undefined

  /**
   * @param interval milliseconds between two rounds
   * @param fields tell in the log what is asked
   */
  constructor(
    private readonly interval: number,
    fields: Readonly<Record<string, unknown>>,
    private readonly modules: SeedPollModules,
  ) {
    this.outage = new Outage(fields, modules)
  }

  start(onAddresses: (addresses: readonly string[]) => void): void {
    if (this.running !== undefined) return
    this.running = new AbortController()
    this.known = []
    void this.round(this.running.signal, onAddresses)
  }

  stop(): void {
    clearTimeout(this.timer)
    this.running?.abort()
    this.running = undefined
  }

  /** One round, and the appointment for the next: rounds never overlap, however slow the server is. */
  private async round(signal: AbortSignal, onAddresses: (addresses: readonly string[]) => void): Promise<void> {
    let pause = this.interval
    try {
      const found = await this.modules.ask(signal)
      if (signal.aborted) return
      this.outage.succeeded()
      this.backoff.reset()
      this.report([...new Set(found)].sort(), onAddresses)
      // Nobody yet: the first are registered within moments of this one's start.
      if (this.known.length === 0) pause = Math.min(pause, FIRST_RETRY_MS)
    } catch (error) {
      // What was cut short by `stop` is no failure.
      if (signal.aborted) return
      this.outage.failed(error)
      pause = this.backoff.next()
    }
    if (!signal.aborted) this.timer = setTimeout(() => void this.round(signal, onAddresses), pause)
  }

  private report(addresses: readonly string[], onAddresses: (addresses: readonly string[]) => void): void {
    // A server that lost its records is no reason to forget where the peers are.
    if (addresses.length === 0 || addresses.join() === this.known.join()) return
    this.known = addresses
    this.modules.metrics.addresses = addresses.length
    this.modules.log.debug({ addresses }, 'seeds found')
    onAddresses(addresses)
  }
}
