/** What TLS between the nodes counts, and its certificate as an alarm. */

import type { AlarmCondition } from '../telemetry/alarms.js'
import type { Counter, MetricRegistry } from '../telemetry/registry.js'

/** Why TLS with another node did not come about. */
export const TLS_FAILURES = ['no_certificate', 'untrusted', 'wrong_name', 'not_tls', 'other'] as const
export type TlsFailure = (typeof TLS_FAILURES)[number]

export interface MeshTlsMetrics {
  readonly failures: Record<TlsFailure, Counter>
  readonly reloads: Record<'ok' | 'failed', Counter>
  /** Milliseconds since the epoch; undefined without TLS. */
  expiresAt: number | undefined
}

export function registerMeshTlsMetrics(registry: MetricRegistry): MeshTlsMetrics {
  const metrics: MeshTlsMetrics = {
    failures: registry.counters(
      {
        name: 'cluster_tls_failures_total',
        help: 'Connections between nodes, of either direction, whose TLS handshake failed, by reason.',
      },
      'reason',
      TLS_FAILURES,
    ),
    reloads: registry.counters(
      {
        name: 'cluster_tls_reloads_total',
        help: 'Times that changed files of TLS between nodes were read: put into use, or failed and the old ones kept.',
      },
      'result',
      ['ok', 'failed'] as const,
    ),
    expiresAt: undefined,
  }
  registry.gaugeOf(
    {
      name: 'cluster_tls_certificate_expiry_seconds',
      help: 'When the certificate that this node shows to others expires, in seconds since the epoch.',
    },
    [],
    () => (metrics.expiresAt === undefined ? [] : [[{}, metrics.expiresAt / 1_000]]),
  )
  return metrics
}

/** A certificate that expires within this time wants attention: 14 days. */
const EXPIRES_SOON_MS = 14 * 86_400_000

/** @param now milliseconds since the epoch */
export function* meshCertificateAlarms({ expiresAt }: MeshTlsMetrics, now: number): Generator<AlarmCondition> {
  if (expiresAt === undefined || expiresAt - now > EXPIRES_SOON_MS) return
  const isOver = expiresAt <= now
  yield {
    alarm: 'certificate_expires',
    subject: 'cluster.tls',
    severity: isOver ? 'critical' : 'warning',
    detail: `the certificate for other nodes ${isOver ? 'has expired' : 'expires'} at ${new Date(expiresAt).toISOString()}`,
  }
}
