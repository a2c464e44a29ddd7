/** Certificates of TLS listeners that have expired or soon will, as alarms. */

import type { AlarmCondition } from '../../telemetry/alarms.js'
import type { CertificateExpiry } from './metrics.js'

/** A certificate that expires within this time wants attention: 14 days, in milliseconds. */
export const EXPIRES_SOON_MS = 14 * 24 * 60 * 60 * 1_000

/** @param now milliseconds since the epoch */
export function* certificateAlarms(expiries: Iterable<CertificateExpiry>, now: number): Generator<AlarmCondition> {
  for (const { listener, serverName, expiresAt } of expiries) {
    if (expiresAt - now > EXPIRES_SOON_MS) continue
    const isOver = expiresAt <= now
    yield {
      alarm: 'certificate_expires',
      subject: serverName === '' ? listener : `${listener} ${serverName}`,
      severity: isOver ? 'critical' : 'warning',
      detail: `its certificate ${isOver ? 'has expired' : 'expires'} at ${new Date(expiresAt).toISOString()}`,
    }
  }
}
