import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { stepsOf } from '../../../src/store/redis/commit-script.js'
import { NodeKeys } from '../../../src/store/redis/keys.js'
import { RedisShelf } from '../../../src/store/redis/redis-shelf.js'
import { RedisTable } from '../../../src/store/redis/redis-table.js'

const KEYS = new NodeKeys('', 'test', 'n1')
const MEGABYTE = Buffer.alloc(1024 * 1024)

describe('a commit that is too large for one step', () => {
  it('never says that something is known before it is there, nor takes away what is not known to be settled', () => {
    const progress = new RedisTable(
      'progress',
      KEYS.table('progress'),
      { read: () => Buffer.from('x'), restore() {}, tellsOfShelves: true },
      () => undefined,
    )
    const messages = new RedisShelf(
      KEYS.shelf('messages'),
      { read: (number) => (number > 100 ? undefined : MEGABYTE), restore() {}, kept() {} },
      () => undefined,
    )
    progress.changed('client', undefined)
    for (const number of [101, ...Array.from({ length: 9 }, (_, index) => index + 1)])
      messages.changed(number, undefined)
    const steps = [...stepsOf([[progress, progress.takeDue()] as const, [messages, messages.takeDue()] as const])]
    const fields = steps.map((step) => step.parameters({ incarnation: 0, token: 't' }, { step: 0, acknowledged: 0 }))
    const stepOf = (field: string): number => fields.findIndex((one) => one.includes(field))
    assert.ok(steps.length > 2)
    for (let number = 1; number <= 9; number += 1) assert.ok(stepOf(String(number)) <= stepOf('client'), `${number}`)
    assert.ok(stepOf('client') <= stepOf('101'))
  })
})
