/** Client IDs that come to one node after the other, and to two at once, and never go by themselves. */

import { HistoryClient } from './client.js'
import type { Recorder } from './recorder.js'
import type { Whereabouts } from './whereabouts.js'

const CLIENT_IDS = ['rival-1', 'rival-2', 'rival-3']
const COME_EVERY_MS = 300

export class Rivals {
  private readonly open = new Set<HistoryClient>()
  private readonly timer: NodeJS.Timeout
  isPaused = false

  constructor(
    private readonly recorder: Recorder,
    private readonly whereabouts: Whereabouts,
  ) {
    this.timer = setInterval(() => this.come(), COME_EVERY_MS)
  }

  /** Connections that were let in and have not ended. */
  connections(): { client: string; connection: number; node: string }[] {
    return [...this.open].flatMap((one) =>
      one.isOpen ? [{ client: one.clientId, connection: one.connection, node: one.node.name }] : [],
    )
  }

  stop(): void {
    clearInterval(this.timer)
    for (const client of this.open) client.end('the run is over')
  }

  private come(): void {
    if (this.isPaused) return
    const { random } = this.whereabouts
    const clientId = random.pick(CLIENT_IDS)
    for (let count = random.oneIn(3) ? 2 : 1; count > 0; count -= 1) {
      const client = new HistoryClient(this.whereabouts.any(), { clientId, clean: true }, this.recorder, {
        connected: () => undefined,
        packet: () => undefined,
        closed: () => void this.open.delete(client),
      })
      this.open.add(client)
    }
  }
}
