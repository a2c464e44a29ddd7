/** What the tests of sessions that outlive their connections share. */

import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { Packet } from 'mqtt-packet'
import type { Version } from './client.js'
import { eventually } from './eventually.js'
import { type ConnectFields, PacketClient, textOf, uniqueClientId } from './packet-client.js'

/** The fields of a CONNECT whose session outlives its connection, by a minute where it can say so. */
export function kept(version: Version, clientId: string): ConnectFields {
  return { clientId, clean: false, ...(version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {}) }
}

/** What arrived on a resumed connection, with what tells a message sent again from one sent first. */
export function resent(arrived: readonly Packet[]): string[] {
  return arrived.map((one) =>
    one.cmd === 'publish'
      ? `${textOf(one)} dup ${one.dup} id ${one.messageId}`
      : `${one.cmd} id ${(one as { messageId?: number }).messageId}`,
  )
}

/** Lets two seconds go by on the clock of the node: a session that lives so long has ended. */
export async function twoSecondsLater(context: TestContext, port: number): Promise<void> {
  const topic = `clock/${uniqueClientId()}`
  const clock = await PacketClient.connect(context, port, 5, {
    clean: false,
    properties: { sessionExpiryInterval: 2 },
  })
  await clock.subscribe(topic, 1)
  await clock.disconnect()
  const publisher = await PacketClient.connect(context, port)
  // 0x10: nobody subscribes any more.
  await eventually(async () => assert.equal(await publisher.publishAcked({ topic }), 0x10))
}
