import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { pino } from 'pino'
import { BatchReader } from '../../../src/cluster/batch.js'
import { markEntry } from '../../../src/cluster/entry-extension.js'
import { Exchange, type ExchangeModules } from '../../../src/cluster/exchange.js'
import { ReceivedPositions } from '../../../src/cluster/received-positions.js'
import { encodeMark, type LinkBody } from '../../../src/cluster/wire.js'
import { RouteTable } from '../../../src/router/route-table.js'

const [SELF, PEER] = [7, 3]

/** What a node makes of a mark that a peer has put into its hints. @param receiver the life of this node that they are for */
function markOf(receiver: number, estate?: string): LinkBody['$case'][] {
  const received: LinkBody['$case'][] = []
  const modules: Partial<ExchangeModules> = {
    turns: { add() {} } as unknown as ExchangeModules['turns'],
    routes: new RouteTable(),
    reader: new BatchReader(),
    maps: new Map(),
    incarnation: () => SELF,
    hints: undefined,
    positions: new ReceivedPositions(undefined),
    directory: { receive: (_from, body) => received.push(body.$case), routesTaken() {}, takePassedOn() {} },
    counters: { batchesReceived: 0, batchBytesReceived: 0 } as ExchangeModules['counters'],
    log: pino({ level: 'silent' }),
  }
  const sizes = { batchBytes: 1_024, linkBuffer: 1_024, qos0Buffer: 1_024, handoff: { bytes: 1_024 } }
  const exchange = new Exchange('n3@c', sizes, modules as ExchangeModules)
  exchange.begin(PEER)
  const entries = markEntry(encodeMark({ move: 5, taker: 'n2@b', estate }))
  const origin = { hint: 1, incarnation: PEER, sequence: 0, receiver }
  exchange.receive({ $case: 'batch', value: { sequence: 1, entries, continued: false, waited: 0, origin } })
  return received
}

describe('a mark of a session that moves', () => {
  it('counts whichever life of the giver its sender knew as it made it', () => {
    assert.deepEqual(markOf(SELF), ['takeoverMark'])
    assert.deepEqual(markOf(0), ['takeoverMark'], 'after a restart of all nodes their links come one by one')
    // The taker had a link to the giver that is back, and who marked had not: without its mark all that it sends comes twice.
    assert.deepEqual(markOf(SELF - 1), ['takeoverMark'])
  })

  it('counts for an adoption in the life only in which that was', () => {
    assert.deepEqual(markOf(SELF, 'n4@d'), ['takeoverMark'])
    assert.deepEqual(markOf(SELF - 1, 'n4@d'), [])
  })
})
