/** Whether discovery works: a failure is logged when it begins, when it becomes another one, and when it is over. */

import type { Logger } from '../../telemetry/logger.js'
import { asError } from '../../util/errors.js'
import { type DiscoveryMetrics, noteRound } from './metrics.js'

export class Outage {
  /** The failure that was logged; undefined while all is well. */
  private logged: string | undefined

  /** @param fields tell in each line what is asked */
  constructor(
    private readonly fields: Readonly<Record<string, unknown>>,
    private readonly modules: { metrics: DiscoveryMetrics; log: Logger },
  ) {}

  /** A round has brought what it should. */
  succeeded(): void {
    const { metrics, log } = this.modules
    noteRound(metrics, 'ok')
    if (this.logged === undefined) return
    this.logged = undefined
    log.info(this.fields, 'discovery works again')
  }

  failed(reason: unknown): void {
    const { metrics, log } = this.modules
    noteRound(metrics, 'failed')
    const error = asError(reason)
    const key = (error as NodeJS.ErrnoException).code ?? error.message
    if (key === this.logged) return
    this.logged = key
    log.warn({ ...this.fields, code: key, detail: error.message }, 'discovery fails, trying again')
  }
}
