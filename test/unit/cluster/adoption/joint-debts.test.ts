import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { pino } from 'pino'
import type { DebtClaim, KeptPart } from '../../../../src/broker/estate-port.js'
import { positionsOf, takeDebts } from '../../../../src/cluster/adoption/joint-debts.js'
import { encodeHint } from '../../../../src/cluster/stored-hint.js'

const DEBTOR = 'n2@b'
const RECEIVER = 'n3@c'
/** Of a receiver's row; see `placeOf`. */
const ROW = 2 ** 32

const LOG = pino({ level: 'silent' })

/** What a life of the debtor has kept: hints for the receiver with these numbers, and one for another node. */
function partWith(
  numbers: readonly number[],
  { name = 'life', isLeft = false, claim = undefined as DebtClaim | undefined } = {},
) {
  const claims: string[] = []
  const hint = (number: number): Buffer =>
    encodeHint({
      ...{ number, incarnation: 1, sequence: 0, receiver: 1, madeAt: 0, count: 1, continued: false },
      entries: Buffer.from(`hint ${number}`),
    })
  const part: KeptPart = {
    ...{ node: DEBTOR, name, isLeft },
    async *table(table) {
      if (table === 'received-positions') yield ['n1@a', Buffer.from(`positions in ${name}`)] as const
      if (table !== 'hint-receivers') return
      yield ['n4@d', Buffer.from(JSON.stringify({ row: 2, since: 5 }))] as const
      if (numbers.length > 0) yield [RECEIVER, Buffer.from(JSON.stringify({ row: 1, since: 5 }))] as const
    },
    async *shelf() {
      yield [2 * ROW + 1, hint(1)] as const
      for (const number of numbers) yield [ROW + number, hint(number)] as const
    },
    async claimDebts(receiver, by, upTo) {
      claims.push(`${receiver} ${by} ${upTo}`)
      return claim ?? { by, upTo }
    },
  }
  return { part, claims }
}

describe('what a node that is down has owed another that is down', () => {
  it('is taken by the heir of the receiver in the order of its numbers, and claimed up to the last', async () => {
    const { part, claims } = partWith([9, 7, 8])
    const [bequest, ...others] = await takeDebts({ kept: async () => [part] }, DEBTOR, RECEIVER, LOG)
    assert.deepEqual(others, [])
    assert.deepEqual([bequest?.node, bequest?.receiver, bequest?.since], [DEBTOR, RECEIVER, 5])
    assert.deepEqual(
      bequest?.hints.map(({ entries }) => String(entries)),
      ['hint 7', 'hint 8', 'hint 9'],
    )
    assert.deepEqual(claims, [`${RECEIVER} receiver 9`])
  })

  it('is left to the heir of the debtor when that one was first', async () => {
    const { part } = partWith([7], { claim: { by: 'debtor', upTo: 7 } })
    assert.deepEqual(await takeDebts({ kept: async () => [part] }, DEBTOR, RECEIVER, LOG), [])
  })

  it('is not claimed where nothing is owed', async () => {
    const { part, claims } = partWith([])
    assert.deepEqual(await takeDebts({ kept: async () => [part] }, DEBTOR, RECEIVER, LOG), [])
    assert.deepEqual(claims, [])
  })

  it('is read again when it has gone to an heir meanwhile, so that nothing is read in part', async () => {
    const [before, after] = [partWith([]), partWith([7], { isLeft: true })]
    const answers = [[before.part], [after.part]]
    const kept = async (): Promise<KeptPart[]> => answers.shift() ?? [after.part]
    const taken = await takeDebts({ kept }, DEBTOR, RECEIVER, LOG)
    assert.deepEqual(
      taken.flatMap(({ hints }) => hints.map(({ number }) => number)),
      [7],
    )
  })

  it('is tried again later when it does not stay where it is', async () => {
    let count = 0
    const kept = async (): Promise<KeptPart[]> => {
      count += 1
      return [partWith([7], { name: `life ${count}` }).part]
    }
    await assert.rejects(takeDebts({ kept }, DEBTOR, RECEIVER, LOG), { code: 'ESTATE_MOVES' })
  })

  it('is measured by how far the last life of the receiver had come', async () => {
    const parts = [partWith([], { name: 'first', isLeft: true }).part, partWith([], { name: 'second' }).part]
    const store = { kept: async () => parts }
    assert.equal(String(await positionsOf(store, DEBTOR, 'n1@a')), 'positions in second')
    assert.equal(await positionsOf(store, DEBTOR, 'n5@e'), undefined)
  })
})
