import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { pino } from 'pino'
import { type FetchRequest, type MovedState, NO_TAKEOVERS, type SessionMoves } from '../../../src/broker/move-ports.js'
import { LONE_DIRECTORY, type NodeId } from '../../../src/broker/ports.js'
import { Aftermaths } from '../../../src/cluster/takeover/aftermaths.js'
import { createTakeoverMetrics } from '../../../src/cluster/takeover/metrics.js'
import { Taker } from '../../../src/cluster/takeover/taker.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { LoneBroker } from './lone-broker.js'
import { type StreamClient, until } from './stream-client.js'

/** What a client is promised. */
const LONGEST_MS = 5_000
/** A claim that nobody answers is decided then. */
const CLAIM_MS = 1_500
const STEP_MS = 100
const KEPT = { clientId: 'one', clean: false, properties: { sessionExpiryInterval: 60 } }

/** A node whose ring node does not answer, and whose peers say nothing when they are asked for a session. */
class Bed {
  readonly lone: LoneBroker
  /** Who may have the session, as the claims that come will be told. */
  readonly holders: NodeId[] = []
  readonly asked: FetchRequest[] = []
  private readonly claims: { at: number; done: () => void }[] = []
  private readonly taker: Taker
  private epoch = 0

  constructor(t: TestContext) {
    this.lone = new LoneBroker(t)
    this.taker = new Taker({
      self: 'n1@test',
      send() {},
      peers: () => ['n2@test', 'n3@test', 'n4@test'],
      debtors: () => [],
      aftermaths: new Aftermaths({ self: 'n1@test', send() {}, log: pino({ level: 'silent' }) }),
      routeVersion: () => 0,
      sessions: {} as SessionMoves,
      metrics: createTakeoverMetrics(new MetricRegistry(), {
        ...{ leaving: () => 0, arriving: () => 0 },
        ...{ rests: () => 0, restWaiting: () => 0 },
      }),
      log: pino({ level: 'silent' }),
    })
    this.lone.broker.claimThrough(
      {
        ...LONE_DIRECTORY,
        claim: (_clientId, _discard, done) => {
          this.epoch += 1
          const { epoch } = this
          const holder = this.holders.shift()
          this.claims.push({ at: performance.now() + CLAIM_MS, done: () => done(epoch, holder) })
        },
      },
      {
        ...NO_TAKEOVERS,
        fetch: (request, done) => {
          this.asked.push(request)
          this.taker.fetch(request, done)
        },
      },
    )
  }

  /** A client whose CONNECT has come to where the directory is asked. */
  async send(): Promise<StreamClient> {
    const before = this.epoch
    const client = this.lone.open()
    client.sendConnect(KEPT)
    await until(() => this.epoch > before, 'the claim')
    return client
  }

  /** Lets so much time pass, with what is due on the way. */
  pass(milliseconds: number): void {
    for (let passed = 0; passed < milliseconds; passed += STEP_MS) {
      this.lone.clock.advance(STEP_MS)
      while ((this.claims[0]?.at ?? Infinity) <= performance.now()) this.claims.shift()?.done()
      this.taker.checkTime(performance.now())
    }
  }
}

describe('a CONNECT', () => {
  it('is answered within 5 s although its claim and every node that may have its session are waited for', async (t) => {
    const bed = new Bed(t)
    bed.holders.push('n2@test', 'n3@test', 'n4@test')
    await bed.send()
    bed.pass(800)
    // They join the first one, whose session is asked for by then; what they are told is asked after it.
    await bed.send()
    const last = await bed.send()
    const begun = performance.now()
    while (last.received.length === 0 && performance.now() - begun < 2 * LONGEST_MS) {
      bed.pass(STEP_MS)
      await new Promise((resolve) => setImmediate(resolve))
    }
    const took = performance.now() - begun
    const connack = await last.next('connack')
    assert.equal(connack.reasonCode, 0)
    assert.equal(connack.sessionPresent, false)
    assert.deepEqual(
      bed.asked.map(({ holder }) => holder),
      ['n2@test', 'n3@test'],
    )
    assert.ok(took < LONGEST_MS, `took ${took} ms`)
    assert.equal(bed.lone.broker.connectedClients, 1)
  })

  it('whose session may be coming from a node that is down is told to come again within 5 s', async (t) => {
    const bed = new Bed(t)
    bed.lone.broker.claimThrough(LONE_DIRECTORY, {
      ...NO_TAKEOVERS,
      mayBeLost: true,
      seek: (_clientId, done) => done('lost', 'n2@test'),
      whenBack: (_node, until, done) => {
        assert.ok(until - performance.now() + CLAIM_MS < LONGEST_MS)
        done(false)
      },
    })
    const client = bed.lone.open()
    client.sendConnect(KEPT)
    assert.equal((await client.next('connack')).reasonCode, 0x88)
  })
  it('that waits for a session of a node that is down gives way to one elsewhere, and to one that comes after it', async (t) => {
    for (const goesElsewhere of [true, false]) {
      const { lone } = new Bed(t)
      const waiting: (() => void)[] = []
      lone.broker.claimThrough(LONE_DIRECTORY, {
        ...NO_TAKEOVERS,
        whenInherited: (_clientId, done) => waiting.push(done) > 0,
      })
      const state: MovedState = {
        ...{ expiryInterval: 60, lastPacketId: 0, retainedFeeds: [], waits: undefined },
        ...{ received: [], unsettled: [], refused: [] },
      }
      const session = { clientId: 'one', owner: undefined, epoch: 0, subscriptions: [], inFlight: [], queue: [] }
      const arriving = lone.broker.moves.inherit({ ...session, state: () => state }, 0, 'n2@test')
      const first = lone.open()
      first.sendConnect(KEPT)
      await until(() => waiting.length > 0, 'it waits')
      const second = lone.open()
      if (goesElsewhere) lone.broker.evict('one', false)
      else second.sendConnect(KEPT)
      await first.ended()
      arriving.endQueue()
      arriving.finish()
      for (const done of waiting) done()
      if (!goesElsewhere) assert.equal((await second.next('connack')).sessionPresent, true)
      assert.equal(lone.broker.connectedClients, goesElsewhere ? 0 : 1)
    }
  })
})
