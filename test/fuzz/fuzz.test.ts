import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { packet, text } from '../support/mqtt-bytes.js'
import { fuzzCodec } from './codec-fuzz.js'
import { Inputs } from './inputs.js'
import { fuzzNode } from './node-fuzz.js'
import { shrink } from './shrink.js'

/** Another one for each day, printed in every failure; set SHOALMQ_TEST_SEED to see a failure again. */
const SEED = Number(process.env.SHOALMQ_TEST_SEED ?? Math.floor(Date.now() / 86_400_000))
const CODEC_INPUTS = 40_000
const NODE_INPUTS = 8_000
/** On a machine that is slow or busy the run against a node ends here, with fewer inputs. */
const NODE_TIME_MS = 8_000

describe(`hostile bytes (seed ${SEED}; npm run fuzz runs as many as you like)`, () => {
  test('bring out nothing but packets and reason codes from the codec, whatever the chunks', async () => {
    const report = await fuzzCodec(new Inputs(SEED), { count: CODEC_INPUTS })
    assert.equal(report.inputs, CODEC_INPUTS)
    // A fuzzer whose inputs are all refused at once reaches nothing behind the first packet.
    assert.ok(report.accepted > CODEC_INPUTS / 10 && report.refused > CODEC_INPUTS / 10, JSON.stringify(report))
  })

  test('leave a node serving, with its memory and its gauges where they were', async () => {
    const report = await fuzzNode(new Inputs(SEED), { count: NODE_INPUTS, within: NODE_TIME_MS })
    assert.ok(report.healthyMessages > 0 && report.inputs > 0, JSON.stringify(report))
    for (const reason of ['malformed_packet', 'protocol_error', 'refused', 'client_closed']) {
      assert.ok((report.closed[reason] ?? 0) > 0, `${reason}: ${JSON.stringify(report.closed)}`)
    }
  })
})

test('inputs are the same for the same seed', () => {
  for (const index of [0, 1, 999_999]) assert.deepEqual(new Inputs(7).at(index), new Inputs(7).at(index))
  assert.notDeepEqual(new Inputs(7).at(1), new Inputs(8).at(1))
})

test('an input that fails is made as short as it can be', async () => {
  const limits = { attempts: 5_000, within: 60_000 }
  const long = Buffer.from(`${'.'.repeat(300)}A${'.'.repeat(200)}B${'.'.repeat(77)}`)
  const short = await shrink(long, (bytes) => /A.*B/.test(bytes.toString('latin1')), limits)
  assert.equal(short.toString(), 'AB')
  // Of a session what counts is a packet with its length right.
  const subscribe = packet(0x82, 0, 1, text('what/breaks/it'), 1)
  const session = Buffer.concat([
    packet(0x10, text('MQTT'), 4, 2, 0, 0, text('c')),
    packet(0xc0),
    subscribe,
    packet(0xe0),
  ])
  const breaks = (bytes: Buffer): boolean => {
    let broken = false
    let at = 0
    while (at + 1 < bytes.length) {
      const end = at + 2 + (bytes[at + 1] as number)
      broken ||= bytes[at] === 0x82 && bytes.subarray(at, end).includes('breaks')
      at = end
    }
    return broken && at === bytes.length
  }
  assert.ok(breaks(session), 'a session that does not fail would be left as it is')
  assert.deepEqual(await shrink(session, breaks, limits), packet(0x82, Buffer.from('breaks')))
})
