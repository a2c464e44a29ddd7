/**
 * The wills of this node's clients: published here when they are due, and told to other nodes, which publish them when
 * this one dies.
 */

import type { Connection } from '../mqtt/connection.js'
import type { Will } from '../mqtt/wire/packets.js'
import { type Directory, LONE_DIRECTORY } from './ports.js'
import type { ArmedWill, SessionEntry } from './session-registry.js'

export interface ClientWillsModules {
  readonly publish: (armed: ArmedWill) => void
  /** Whether its client has the right to. */
  readonly mayPublish: (armed: ArmedWill) => boolean
}

export class ClientWills {
  private directory: Directory = LONE_DIRECTORY

  constructor(private readonly modules: ClientWillsModules) {}

  tellThrough(directory: Directory): void {
    this.directory = directory
  }

  mayPublish(armed: ArmedWill): boolean {
    return this.modules.mayPublish(armed)
  }

  /** The client is in: other nodes are to know its will. */
  announce(entry: SessionEntry, connection: Connection): void {
    const { clientId, will } = connection
    const armed = will && { will, clientId, connection }
    if (armed === undefined || !this.modules.mayPublish(armed)) return this.directory.dropWill(clientId)
    const delay = Math.min(armed.will.delayInterval, entry.session.expiryInterval) * 1000
    this.directory.keepWill(clientId, entry.epoch, { will: armed.will, delay, isLost: false })
  }

  /** A will waits for its delay from now on. */
  keepWaiting(entry: SessionEntry): void {
    const { will, willAt } = entry
    if (will === undefined || !this.modules.mayPublish(will)) return this.directory.dropWill(entry.session.clientId)
    const kept = { will: will.will, delay: Math.max(0, willAt - performance.now()), isLost: true }
    this.directory.keepWill(entry.session.clientId, entry.epoch, kept)
  }

  /** A will is due, if no other node has published it. */
  publish(armed: ArmedWill): void {
    this.directory.settleWill(armed.clientId, () => this.modules.publish(armed))
  }

  /** One that has waited for its delay: other nodes are not to publish it, too. */
  publishWaiting(armed: ArmedWill): void {
    this.publish(armed)
    this.directory.dropWill(armed.clientId)
  }

  /** The will of a client of another node, which is down. */
  publishFor(clientId: string, will: Will): void {
    this.modules.publish({ will, clientId, connection: undefined })
  }

  /** The client has none any more. */
  drop(clientId: string): void {
    this.directory.dropWill(clientId)
  }
}
