import assert from 'node:assert/strict'
import { type QoS, TestClient, type Version } from './client.js'
import { eventually } from './eventually.js'

/** One thing that one client does; the next step waits until it is acknowledged. */
export type Step =
  | { client: string; subscribes: string; qos?: QoS }
  | { client: string; unsubscribes: string }
  | { client: string; publishes: string; payload: string; qos?: QoS }

export interface ScriptClient {
  url: string
  version?: Version
}

/** The farewell of each client, sent when the script is over: what came before it is all that was to come. */
const END_TOPIC = 'script/end'

/** From the last step to the last delivery. */
const SETTLE_TIMEOUT_MS = 10_000

/**
 * Plays the steps one after the other and returns what each client received, as `topic payload`, sorted. It knows that
 * nothing more is under way because each client has the farewell of every other, on the same paths and in order.
 */
export async function playScript(
  clients: Readonly<Record<string, ScriptClient>>,
  steps: readonly Step[],
): Promise<Record<string, string[]>> {
  const connected: Record<string, TestClient> = {}
  try {
    for (const [name, { url, version = 5 }] of Object.entries(clients)) {
      connected[name] = await TestClient.connect(url, { version })
      await connected[name].subscribe(END_TOPIC, 1)
    }
    for (const step of steps) {
      const client = connected[step.client]
      if (client === undefined) throw new Error(`no client ${step.client} in this script`)
      if ('subscribes' in step) await client.subscribe(step.subscribes, step.qos ?? 1)
      else if ('unsubscribes' in step) await client.unsubscribe(step.unsubscribes)
      else await client.publish(step.publishes, step.payload, { qos: step.qos ?? 1 })
    }
    const names = Object.keys(connected).sort()
    for (const [name, client] of Object.entries(connected)) await client.publish(END_TOPIC, name, { qos: 1 })
    await eventually(
      () => {
        for (const client of Object.values(connected)) assert.deepEqual(client.payloads(END_TOPIC).sort(), names)
      },
      { within: SETTLE_TIMEOUT_MS },
    )
    return Object.fromEntries(
      Object.entries(connected).map(([name, client]) => [
        name,
        client.received
          .filter((one) => one.topic !== END_TOPIC)
          .map((one) => `${one.topic} ${one.payload}`)
          .sort(),
      ]),
    )
  } finally {
    for (const client of Object.values(connected)) client.drop()
  }
}
