import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { discoveryAlarms } from '../../../src/cluster/discovery/alarm.js'
import { noteRound, registerDiscoveryMetrics } from '../../../src/cluster/discovery/metrics.js'
import { meshCertificateAlarms, registerMeshTlsMetrics } from '../../../src/cluster/mesh-tls-metrics.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'

const DAY_MS = 86_400_000

describe('the alarms of members', () => {
  test('tell of discovery that has failed for half a minute, and no more once it works', () => {
    const metrics = registerDiscoveryMetrics(new MetricRegistry())
    const raised = (seconds: number) => [...discoveryAlarms('etcd', metrics, metrics.failingSince + seconds * 1_000)]
    noteRound(metrics, 'failed')
    noteRound(metrics, 'failed')
    assert.deepEqual(raised(29), [])
    assert.deepEqual(
      raised(31).map(({ alarm, subject }) => [alarm, subject]),
      [['discovery_failing', 'etcd']],
    )
    noteRound(metrics, 'ok')
    assert.deepEqual(raised(31), [])
    assert.deepEqual([metrics.rounds.ok.value, metrics.rounds.failed.value], [1, 2])
  })

  test('tell of a certificate for other nodes that ends within 14 days, or has ended', () => {
    const metrics = registerMeshTlsMetrics(new MetricRegistry())
    const now = Date.now()
    const severities = () => [...meshCertificateAlarms(metrics, now)].map(({ severity }) => severity)
    assert.deepEqual(severities(), [], 'without TLS')
    metrics.expiresAt = now + 15 * DAY_MS
    assert.deepEqual(severities(), [])
    metrics.expiresAt = now + 13 * DAY_MS
    assert.deepEqual(severities(), ['warning'])
    metrics.expiresAt = now
    assert.deepEqual(severities(), ['critical'])
  })
})
