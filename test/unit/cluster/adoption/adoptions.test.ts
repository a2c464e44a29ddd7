import assert from 'node:assert/strict'
import { it } from 'node:test'
import { pino } from 'pino'
import type { Estate, SharedStore } from '../../../../src/broker/estate-port.js'
import type { SessionMoves } from '../../../../src/broker/move-ports.js'
import { Adoptions } from '../../../../src/cluster/adoption/adoptions.js'
import { createAdoptionMetrics } from '../../../../src/cluster/adoption/metrics.js'
import { encodeHint, type Hint } from '../../../../src/cluster/stored-hint.js'
import { MetricRegistry } from '../../../../src/telemetry/registry.js'
import { eventually } from '../../../support/eventually.js'

const SELF = 'n1@a'
const HINT: Hint = {
  ...{ number: 0, incarnation: 1, sequence: 1, receiver: 1, madeAt: Date.now() },
  ...{ count: 1, continued: false, entries: Buffer.from('entries') },
}

it('what an estate has owed and kept for later goes on once, though its adoption is tried again, and is waited for each time', async (t) => {
  const tables = new Map<string, [string, Buffer][]>([
    ['hint-receivers', [['n3@c', Buffer.from(JSON.stringify({ row: 0, since: 1 }))]]],
  ])
  const shelves = new Map<string, [number, Buffer][]>([
    ['hints', [[0, encodeHint(HINT)]]],
    ['group-messages', [[1, Buffer.from('waits')]]],
  ])
  let closes = 0
  const done: string[] = []
  let whenDelayedIsKept: () => void = assert.fail
  const estate: Estate = {
    node: SELF,
    name: 'estate',
    isLeft: true,
    claimDebts: async () => undefined,
    async *table(name) {
      yield* tables.get(name) ?? []
    },
    async *shelf(name) {
      yield* shelves.get(name) ?? []
    },
    remove: async () => true,
    async close() {
      closes += 1
      if (closes === 1) throw new Error('the store is away')
      done.push('closed')
    },
  }
  const sessions: Partial<SessionMoves> = {
    readEstate: async () => ({
      sessions: [],
      ended: [],
      positions: new Map(),
      delayed: [Buffer.from('later')],
      missing: 0,
    }),
    inheritDelayed: () =>
      new Promise((resolve) => {
        done.push('delayed')
        whenDelayedIsKept = resolve
      }),
  }
  let isTaken = false
  const store: Partial<SharedStore> = {
    isFailing: false,
    kept: async (node) => (node === 'n3@c' ? [] : assert.fail('what it is owed itself is sent')),
    pulse: async () => 'as ever',
    beat: async () => true,
    async inherit() {
      const estates = isTaken && done.includes('closed') ? [] : [estate]
      isTaken = true
      return { estates, hasMore: false, last: 1 }
    },
  }
  const adoptions = new Adoptions({
    self: SELF,
    incarnation: () => 2,
    store: store as SharedStore,
    adoptAfter: 0,
    sessions: sessions as SessionMoves,
    claim: assert.fail,
    isHeirOf: () => false,
    isTaking: () => true,
    lost: () => [{ node: 'n4@d', incarnation: 1, hasStopped: false, downSince: Number.POSITIVE_INFINITY }],
    isGone: () => true,
    members: () => [SELF],
    peers: () => ['n3@c'],
    send(to, body) {
      if (body.$case !== 'estateTaken') assert.fail(body.$case)
      adoptions.receive(to, { $case: 'takeoverMark', value: { move: body.value.number, taker: SELF, estate: SELF } })
    },
    handOn: () => 0,
    receivedFrom: () => undefined,
    async sendOn({ receiver }) {
      done.push(`owed to ${receiver}`)
      return 1
    },
    giveUp: () => assert.fail('it can be reached'),
    deliverDebts: () => assert.fail('nobody else is down'),
    async inheritWaiting(values) {
      done.push(...values.map(String))
    },
    onSettled: () => assert.fail('it is of this node'),
    mark: assert.fail,
    routeVersion: () => 0,
    routeVersionOf: () => 0,
    onAdopted: assert.fail,
    metrics: createAdoptionMetrics(new MetricRegistry(), () => 0),
    log: pino({ level: 'silent' }),
  })
  t.after(() => adoptions.stop())
  adoptions.start()
  await eventually(() => assert.deepEqual(done, ['owed to n3@c', 'delayed']))
  whenDelayedIsKept()
  await eventually(() => assert.deepEqual(done, ['owed to n3@c', 'delayed', 'waits', 'closed']), { within: 10_000 })
  assert.equal(closes, 2)
})
