import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { DataFlow, type DataStream } from '../../../src/cluster/data-flow.js'

const LOOK_MS = 100
const BEAT_MS = 1_000
const ROUND_TRIP_MS = 1

type Counts = { -readonly [Key in keyof DataStream]: DataStream[Key] }

/** One side of a link, whose time passes as told: a look every 100 ms, and a beat of the peer every second. */
class Side {
  readonly stream: Counts = { framesSent: 0, framesReceived: 0, bytesReceived: 0, isWriting: false }
  readonly flow = new DataFlow(this.stream)
  readonly peer = { framesDue: 0, bytesReceived: 0 }
  private now = 1_000

  /** Returns after how many milliseconds the connection was found stuck; undefined when it was not. */
  pass(milliseconds: number, each: () => void = () => {}, roundTrip = ROUND_TRIP_MS): number | undefined {
    for (let passed = LOOK_MS; passed <= milliseconds; passed += LOOK_MS) {
      this.now += LOOK_MS
      each()
      if (this.now % BEAT_MS === 0) this.flow.hear({ ...this.peer }, roundTrip)
      this.look()
      if (this.flow.isStuck) return passed
    }
    return undefined
  }

  /** The node does nothing for a while. */
  stand(milliseconds: number): void {
    this.now += milliseconds
    this.look()
  }

  private look(): void {
    this.flow.look(this.now, 2 * LOOK_MS)
  }
}

describe('the flow of data on a link', () => {
  it('is stuck when a beat tells of frames that do not come, and no byte comes for a second', () => {
    const side = new Side()
    assert.equal(side.pass(10_000), undefined, 'nothing is due')
    side.peer.framesDue = 3
    side.stream.framesReceived = 3
    side.stream.bytesReceived = 1_000
    assert.equal(side.pass(10_000), undefined, 'what is due has come')
    side.peer.framesDue = 4
    const after = side.pass(10_000) ?? Infinity
    assert.ok(after >= 250 && after <= BEAT_MS + 300, `after the next beat and a moment, not ${after} ms`)
  })

  it('is not stuck while bytes come, however long a frame takes', () => {
    const side = new Side()
    side.peer.framesDue = 1
    let looks = 0
    const slowly = (): void => {
      looks += 1
      if (looks % 9 === 0) side.stream.bytesReceived += 10
    }
    assert.equal(side.pass(60_000, slowly), undefined)
    assert.notEqual(side.pass(3_000), undefined, 'but when they end')
  })

  it('is not stuck when what is due comes in the moment in which beats come again', () => {
    const side = new Side()
    side.pass(5_500)
    side.peer.framesDue = 1
    side.flow.hear(side.peer, ROUND_TRIP_MS)
    assert.equal(side.pass(200), undefined)
    side.stream.framesReceived = 1
    side.stream.bytesReceived = 50
    assert.equal(side.pass(10_000), undefined)
  })

  it('gets more time where the way is long: a lost segment is repeated twice before it counts', () => {
    const side = new Side()
    side.peer.framesDue = 1
    let looks = 0
    const withHoles = (): void => {
      looks += 1
      if (looks % 17 === 0) side.stream.bytesReceived += 10
    }
    assert.equal(side.pass(60_000, withHoles, 250), undefined)
    assert.notEqual(side.pass(60_000, withHoles, 1), undefined)
  })

  it('is not judged by the time in which this node stood still', () => {
    const side = new Side()
    side.pass(3_000, () => {
      side.stream.bytesReceived += 1
    })
    side.stand(20_000)
    side.peer.framesDue = 9
    side.flow.hear(side.peer, ROUND_TRIP_MS)
    assert.equal(side.pass(500), undefined)
    side.stream.framesReceived = 9
    side.stream.bytesReceived += 100
    assert.equal(side.pass(5_000), undefined)
  })

  it('is not stuck while this side has a long write under way that the peer gets: nothing is read meanwhile', () => {
    const side = new Side()
    side.peer.framesDue = 1
    side.stream.framesSent = 7
    side.stream.isWriting = true
    const taken = side.pass(20_000, () => {
      side.peer.bytesReceived += 1_000
    })
    assert.equal(taken, undefined)
    assert.notEqual(side.pass(5_000), undefined, 'but when the peer gets nothing either')
  })

  it('is told to the peer as of a second ago: what was written just now may be under way', () => {
    const side = new Side()
    side.pass(3_000)
    side.stream.framesSent = 5
    side.stream.bytesReceived = 77
    side.pass(900)
    assert.deepEqual(side.flow.report(), { framesDue: 0, bytesReceived: 77 })
    side.pass(300)
    assert.deepEqual(side.flow.report(), { framesDue: 5, bytesReceived: 77 })
  })
})
