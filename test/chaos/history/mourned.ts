/** Clients with a will, each with a client ID of its own: half of them go without a word, half say goodbye. */

import { HistoryClient } from './client.js'
import type { Recorder } from './recorder.js'
import { WILLS } from './subscriber.js'
import type { Whereabouts } from './whereabouts.js'

const COME_EVERY_MS = 250
const MINIMUM_STAY_MS = 100
/** Longer than it takes to be copied to other nodes: some stay until their node dies. */
const MAXIMUM_STAY_MS = 8_000

export class Mourned {
  /** Each with the time at which it goes; undefined once it does. */
  private readonly open = new Map<HistoryClient, NodeJS.Timeout | undefined>()
  private readonly timer: NodeJS.Timeout
  private count = 0
  private isResting = false

  constructor(
    private readonly recorder: Recorder,
    private readonly whereabouts: Whereabouts,
  ) {
    this.timer = setInterval(() => this.come(), COME_EVERY_MS)
  }

  /** Nobody comes while it is true, and whoever is there goes at once: none of them is left for the next history. */
  set isPaused(isPaused: boolean) {
    this.isResting = isPaused
    if (isPaused) for (const client of this.open.keys()) this.go(client)
  }

  /** How many are there, or may yet be let in. */
  get size(): number {
    return this.open.size
  }

  stop(): void {
    clearInterval(this.timer)
    for (const client of this.open.keys()) client.end('the run is over')
  }

  private come(): void {
    if (this.isResting) return
    const { random } = this.whereabouts
    this.count += 1
    const node = this.whereabouts.again(this.whereabouts.any())
    const options = { clientId: `mourned-${this.count}`, clean: true, will: `${WILLS}${this.count % 3}` }
    const client = new HistoryClient(node, options, this.recorder, {
      connected: () => {
        if (this.isResting) this.go(client)
      },
      packet: () => undefined,
      closed: () => {
        clearTimeout(this.open.get(client))
        this.open.delete(client)
      },
    })
    const stays = MINIMUM_STAY_MS + random.below(MAXIMUM_STAY_MS - MINIMUM_STAY_MS)
    this.open.set(
      client,
      setTimeout(() => this.go(client), stays),
    )
  }

  private go(client: HistoryClient): void {
    const timer = this.open.get(client)
    if (timer === undefined) return
    clearTimeout(timer)
    this.open.set(client, undefined)
    if (client.isOpen && this.whereabouts.random.oneIn(2)) client.sayGoodbye()
    else client.end('it is gone without a word')
  }
}
