import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import type { Access, ClientIdentity, Login, LoginOutcome } from '../../../src/broker/ports.js'
import type { ClientRights } from '../../../src/mqtt/host.js'
import { LoneBroker } from './lone-broker.js'
import { until } from './stream-client.js'

const REFUSAL: LoginOutcome = { isAdmitted: false, reasonCode: 0x86, reason: 'no' }

/** An Access that the test answers for: by default everybody comes in under the name they give, and may do all. */
class DrivenAccess implements Access {
  limitsPublish = true
  readonly logins: { login: Login; answer: (outcome: LoginOutcome) => void }[] = []
  readonly clients: ClientIdentity[] = []
  readonly removed = new Set<string>()
  isWaiting = false
  allowed: (topic: string) => boolean = () => true

  authenticate(login: Login, done: (outcome: LoginOutcome) => void): void {
    this.logins.push({ login, answer: done })
    if (!this.isWaiting) done({ isAdmitted: true, isProven: login.username !== undefined })
  }

  rightsOf(client: ClientIdentity): ClientRights {
    this.clients.push(client)
    return {
      closesWhenDenied: false,
      mayPublish: (topic) => this.allowed(topic),
      maySubscribe: (filter) => this.allowed(filter),
    }
  }

  isRemoved(username: string): boolean {
    return this.removed.has(username)
  }
}

test('a login may be answered later; packets behind it wait, and a client that has gone is not waited for', async (t) => {
  const access = new DrivenAccess()
  access.isWaiting = true
  const lone = new LoneBroker(t, { access })
  const patient = lone.open()
  patient.sendConnect({ clientId: 'patient', username: 'alice' })
  patient.send({ cmd: 'pingreq' })
  const gone = lone.open()
  gone.sendConnect({ clientId: 'gone', username: 'bob' })
  await until(() => access.logins.length === 2, 'two logins')
  const [first, second] = access.logins
  assert.equal(first?.login.isWaiting(), true)
  assert.equal(patient.received.length, 0)
  gone.drop()
  await until(() => second?.login.isWaiting() === false, 'the client is gone')
  second?.answer({ isAdmitted: true, isProven: true })
  assert.equal(lone.broker.connectedClients, 0)
  first?.answer({ isAdmitted: true, isProven: true })
  await patient.next('connack')
  await patient.next('pingresp')
  assert.equal(lone.broker.connectedClients, 1)
})

test('hooks are asked after access, and only about clients that it has admitted', async (t) => {
  const access = new DrivenAccess()
  access.isWaiting = true
  const asked: string[] = []
  const lone = new LoneBroker(t, {
    access,
    aedes: {
      authenticate(client, _username, _password, done) {
        asked.push(client.id)
        done(null, client.id === 'welcome')
      },
    },
  })
  const expected = { refused: 0x86, unwelcome: 0x87, welcome: 0 }
  for (const [clientId, reasonCode] of Object.entries(expected)) {
    const client = lone.open()
    client.sendConnect({ clientId })
    await until(() => access.logins.length > 0, 'a login')
    access.logins.shift()?.answer(clientId === 'refused' ? REFUSAL : { isAdmitted: true, isProven: false })
    assert.equal((await client.next('connack')).reasonCode, reasonCode, clientId)
  }
  assert.deepEqual(asked, ['unwelcome', 'welcome'])
})

test('a user name counts only when something has proved it', async (t) => {
  const access = new DrivenAccess()
  const lone = new LoneBroker(t, { access })
  await lone.connect({ clientId: 'c1', username: 'alice' })
  access.isWaiting = true
  const unproven = lone.open()
  unproven.sendConnect({ clientId: 'c2', username: 'alice' })
  await until(() => access.logins.length === 2, 'two logins')
  access.logins[1]?.answer({ isAdmitted: true, isProven: false })
  await unproven.next('connack')
  assert.deepEqual(
    access.clients.map(({ clientId, username }) => [clientId, username]),
    [
      ['c1', 'alice'],
      ['c2', undefined],
    ],
  )
  const hooked = new DrivenAccess()
  const other = new LoneBroker(t, { access: hooked, aedes: { authenticate: (_c, _u, _p, done) => done(null, true) } })
  await other.connect({ clientId: 'c3', username: 'carol' })
  assert.deepEqual(hooked.clients, [{ clientId: 'c3', username: 'carol', address: '' }])
})

test('where publishing is free no client keeps rights, and subscribing is asked about all the same', async (t) => {
  const access = new DrivenAccess()
  access.limitsPublish = false
  access.allowed = (topic) => topic !== 'secret'
  const lone = new LoneBroker(t, { access })
  const client = await lone.connect()
  assert.equal(lone.connections[0]?.rights, undefined)
  client.send({
    cmd: 'subscribe',
    messageId: 1,
    subscriptions: ['open', 'secret'].map((topic) => ({
      topic,
      qos: 1 as const,
      nl: false,
      rap: false,
      rh: 0 as const,
    })),
  })
  assert.deepEqual((await client.next('suback')).granted, [1, 0x87])
})

test('a review looks at all clients over several turns; one that comes meanwhile takes its place', async (t) => {
  const access = new DrivenAccess()
  const lone = new LoneBroker(t, { access })
  const count = 450
  for (let index = 0; index < count; index++) {
    const client = await lone.connect({ clientId: `c${index}`, username: index % 2 === 0 ? 'stays' : 'goes' })
    client.send({
      cmd: 'subscribe',
      messageId: 1,
      subscriptions: ['open', 'secret'].map((topic) => ({
        topic,
        qos: 0 as const,
        nl: false,
        rap: false,
        rh: 0 as const,
      })),
    })
    await client.next('suback')
  }
  access.removed.add('goes')
  lone.broker.reviewAccess()
  access.allowed = (topic) => topic !== 'secret'
  lone.broker.reviewAccess()
  const { connection, subscription } = lone.metrics.accessWithdrawn
  await setImmediate()
  assert.ok(connection.value > 0 && connection.value < count / 2, `${connection.value} closed in the first turn`)
  await until(() => connection.value + subscription.value === count, 'all are reviewed')
  assert.equal(lone.broker.connectedClients, count / 2)
  assert.equal(lone.subscriptions.size, count / 2)
  assert.deepEqual(lone.closeReasons, { not_authorized: count / 2 })
})

test('a will is held against the rights that its client has when it is due', async (t) => {
  const access = new DrivenAccess()
  const lone = new LoneBroker(t, { access })
  const will = { topic: 'status', payload: Buffer.from('gone'), qos: 0 as const, retain: false }
  for (const isAllowed of [true, false]) {
    const client = await lone.connect({ clientId: 'c', will })
    access.allowed = () => isAllowed
    client.drop()
    await until(() => lone.broker.connectedClients === 0, 'the client is gone')
  }
  assert.equal(lone.metrics.wills.value, 1)
  assert.equal(lone.metrics.mqtt.publishesRefused.access_denied.value, 1)
})
