/** A publish by the embedding program: its callback is called when everyone has kept the message. */

import { NodeError } from '../util/errors.js'
import type { Keeping } from './ports.js'

export class CallbackPending implements Keeping {
  /** The publish path's own hold. */
  private holds = 1

  private error: Error | undefined

  constructor(private readonly callback: (error?: Error) => void) {}

  /** The callback will be told of this. */
  fail(error: Error): void {
    this.error ??= error
  }

  refuse(): void {
    this.fail(new NodeError('the store cannot keep the message', { code: 'STORE_FAILING' }))
  }

  hold(): void {
    this.holds++
  }

  release(): void {
    this.holds--
    // Never within the call to publish: a callback that publishes again must not nest.
    if (this.holds === 0) setImmediate(this.callback, this.error)
  }
}
