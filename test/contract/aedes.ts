import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { describe, it } from 'node:test'
import type { AedesOptions } from 'aedes'
import { eventually } from '../support/eventually.js'
import { PacketClient, textOf } from '../support/packet-client.js'
import { describeChanges } from './aedes/changes.js'
import { describeClient } from './aedes/client.js'
import { describeErrors } from './aedes/errors.js'
import { describeEvents } from './aedes/events.js'
import { describeHooks } from './aedes/hooks.js'
import { describeMethods } from './aedes/methods.js'
import { describeOptions } from './aedes/options.js'
import { announce, install, OPTIONS, serve } from './aedes/program.js'
import { type CreateAedes, VERSION } from './aedes/setting.js'

export type { AedesOptions, CreateAedes }

/**
 * What a program written for Aedes may rely on: hooks, events, methods and options, over TCP and MQTT 3.1.1. Run for
 * Aedes itself and for what claims to be one.
 */
export function describeAedes(name: string, create: CreateAedes): void {
  describeHooks(name, create)
  describeChanges(name, create)
  describeEvents(name, create)
  describeErrors(name, create)
  describeMethods(name, create)
  describeClient(name, create)
  describeOptions(name, create)
  describeProgram(name, create)
}

/** A whole program, which also has to compile: see `aedes/program.ts`. */
function describeProgram(name: string, create: CreateAedes): void {
  describe(`a program on ${name}`, () => {
    it('sees its clients come, speak and go', async (t) => {
      const broker = await create(OPTIONS)
      const lines = install(broker)
      const server = createServer((socket) => serve(broker, socket))
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      t.after(() => server.close())
      const { port } = server.address() as AddressInfo
      const fields = { clientId: 'a', username: 'ann', password: Buffer.from('secret'), clean: false }
      const client = await PacketClient.connect(t, port, VERSION, fields)
      await eventually(() => assert.equal(lines.includes('ready a'), true))
      assert.deepEqual(await client.subscribe([{ topic: 'yes' }, { topic: 'no' }, { topic: 'not/#' }], 1), [1, 128, 1])
      client.publish({ topic: 'yes', payload: 'hello' })
      for (const topic of ['not/for/a', 'not/for/b']) await announce(broker, topic, 'x')
      assert.deepEqual((await client.receive(2)).map(textOf).sort(), ['not/for/b x', 'yes hello'])
      await client.settle()
      const refused = await PacketClient.open(t, port, VERSION)
      refused.sendConnect({ clientId: 'b', username: 'mallory', password: Buffer.from('x') })
      await refused.closed()
      await client.disconnect()
      await eventually(() => assert.equal(lines.includes('gone a'), true))
      await new Promise<void>((resolve) => broker.close(resolve))
      const acks = lines.filter((line) => line.startsWith('ack '))
      assert.equal(acks.length, 1)
      assert.deepEqual(
        lines.filter((line) => !line.startsWith('ack ')),
        [
          ...['in a ann 6', 'client a 4 false', 'connack 0 a', 'ready a', 'subscribe yes=1,no=128,not/#=1 a'],
          ...['by a yes hello', 'pingreq a', 'connack 4 b', 'error b not her', 'gone a', 'closed'],
        ],
      )
    })
  })
}
