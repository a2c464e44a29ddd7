import type { QoS, TestClient } from './client.js'
import { numbered } from './numbered.js'

export interface SteadyOptions {
  topic: string
  /** Who the numbered messages are from. */
  name: string
  qos?: QoS
  /** Messages in flight at a time. */
  window?: number
}

/**
 * Publishes numbered messages, a window of them after the other, each acknowledged, until it is told to stop.
 * What it returns tells it so, and resolves with the number that was acknowledged.
 */
export function publishSteadily(client: TestClient, options: SteadyOptions): () => Promise<number> {
  const { topic, name, qos = 1, window = 1 } = options
  let isStopping = false
  const publishing = (async () => {
    let acknowledged = 0
    while (!isStopping) {
      const payloads = Array.from({ length: window }, (_, index) => numbered(name, acknowledged + index + 1))
      await Promise.all(payloads.map((payload) => client.publish(topic, payload, { qos })))
      acknowledged += window
    }
    return acknowledged
  })()
  // A failure is for whoever asks how many there were; a test that has failed before does not ask.
  publishing.catch(() => undefined)
  return () => {
    isStopping = true
    return publishing
  }
}
