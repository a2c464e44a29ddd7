import assert from 'node:assert/strict'
import { test } from 'node:test'
import { check } from '../../chaos/history/checker.js'
import { guaranteesOf } from '../../chaos/history/guarantees.js'
import { Story } from './story.js'

const EMBEDDED = guaranteesOf('embedded')
const MISSING = 'will missing: m never gets the will of c, which is gone without a word'

function verdict(story: Story): string[] {
  return check(story.events, EMBEDDED).map(({ kind, text }) => `${kind}: ${text}`)
}

/** Somebody who waits for wills, and a client that has one. */
function begun(): Story {
  return new Story().begins('m', 1, 'n3', 'wills/#').wills('c', 2).later(5_000)
}

function goodbye(story: Story): Story {
  return story.add({ kind: 'goodbye', client: 'c' }).closes('c', 2)
}

test('the will of a client that is gone without a word comes once', () => {
  assert.deepEqual(verdict(begun().closes('c', 2).mourns('m', 'c').quiet()), [])
  assert.deepEqual(verdict(begun().closes('c', 2).quiet()), [MISSING])
  assert.deepEqual(verdict(begun().closes('c', 2).mourns('m', 'c').mourns('m', 'c')), [
    'will: m gets the will of c a second time',
  ])
})

test('a client that says goodbye has no will', () => {
  assert.deepEqual(verdict(goodbye(begun()).quiet()), [])
  const text = 'will: m gets the will of c, which has said goodbye'
  assert.deepEqual(verdict(goodbye(begun()).mourns('m', 'c').quiet()), [text])
})

test('a goodbye that meets a DISCONNECT of the node may not have been read', () => {
  const met = (story: Story): Story =>
    story.add({ kind: 'closed', client: 'c', connection: 2, why: 'DISCONNECT 0x8b', isByNode: true })
  const said = (): Story => begun().add({ kind: 'goodbye', client: 'c' })
  assert.deepEqual(verdict(met(said()).mourns('m', 'c').quiet()), [])
  assert.deepEqual(verdict(met(said().mourns('m', 'c')).quiet()), [])
  assert.deepEqual(verdict(met(begun()).quiet()), [MISSING])
})

test('it is promised to whom it matters, and who was there before', () => {
  const late = new Story().wills('c', 2).begins('m', 1, 'n3', 'wills/#').begins('other', 3, 'n3', 'load/#')
  assert.deepEqual(verdict(late.closes('c', 2).quiet()), [])
})

test('a node that is killed takes no will with it, unless it had only just come or said goodbye', () => {
  const killed = (story: Story): Story => story.fault('killed', 'n1').closes('c', 2).heals()
  assert.deepEqual(verdict(killed(begun()).quiet()), [MISSING])
  assert.deepEqual(verdict(killed(begun()).mourns('m', 'c').quiet()), [])
  const early = new Story().begins('m', 1, 'n3', 'wills/#').wills('c', 2)
  assert.deepEqual(verdict(killed(early).quiet()), [])
  assert.deepEqual(
    verdict(
      killed(begun().add({ kind: 'goodbye', client: 'c' }))
        .mourns('m', 'c')
        .quiet(),
    ),
    [],
  )
  assert.deepEqual(verdict(goodbye(begun().fault('killed', 'n1')).heals().mourns('m', 'c').quiet()), [])
})

test('nothing is promised where nodes do not hear each other, and where two of them die', () => {
  const cut = (): Story => begun().fault('cut', 'n1')
  assert.deepEqual(verdict(cut().heals().closes('c', 2).quiet()), [])
  assert.deepEqual(verdict(goodbye(cut().mourns('m', 'c')).mourns('m', 'c')), [])
  const both = begun().fault('killed', 'n1').fault('killed', 'n2').closes('c', 2).heals()
  assert.deepEqual(verdict(both.quiet()), [])
  const after = new Story().begins('m', 1, 'n3', 'wills/#').fault('cut', 'n1').heals().wills('c', 2).closes('c', 2)
  assert.deepEqual(verdict(after.quiet()), [MISSING])
})
