/** Handshakes that failed on purpose: counted every time, logged once per peer and reason until that changes. */

import type { Logger } from 'pino'
import type { HandshakeResult } from './handshake.js'
import type { ClusterMetrics } from './metrics.js'
import { refusalName } from './wire.js'

/** Peers whose last refusal is remembered; strangers may claim any name. */
const MAXIMUM_REMEMBERED = 256

type Refused = Extract<HandshakeResult, { kind: 'refused' }>

export class RefusalLog {
  private readonly logged = new Map<string, string>()

  constructor(private readonly modules: { metrics: ClusterMetrics; log: Logger }) {}

  /** @param address where the other side is: what was dialed, or where it came from */
  report({ by, refusal, peer }: Refused, address: string): void {
    const reason = refusalName(refusal.code)
    this.modules.metrics.refusals[reason].value += 1
    // A port changes with every attempt of a dialer that is refused here.
    const key = `${by} ${peer?.node ?? address.replace(/:\d+$/, '')}`
    if (this.logged.get(key) === reason) return
    if (this.logged.size >= MAXIMUM_REMEMBERED) this.logged.clear()
    this.logged.set(key, reason)
    const fields = { peer: peer?.node, address, reason, detail: refusal.detail }
    if (by === 'us') this.modules.log.warn(fields, 'refused to link with a node')
    else this.modules.log.warn(fields, 'a node refused to link with this one')
  }

  /** They link now: the next refusal is news again. */
  forget(node: string): void {
    this.logged.delete(`us ${node}`)
    this.logged.delete(`peer ${node}`)
  }
}
