import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { LinkFrame } from '../../../src/cluster/generated/cluster/v1/cluster.js'
import { asBuffer, decodeLinkFrame, encodeLinkFrame, type LinkBody } from '../../../src/cluster/wire.js'

/** Around the sizes at which a length takes a byte more; there is no empty batch. */
const SIZES = [1, 110, 127, 128, 16_370, 16_383, 16_384, 32_768, 2_097_151, 2_097_152]

describe('a frame of a link', () => {
  it('with a batch is what the generated code reads, whatever its size and its fields', () => {
    fc.assert(
      fc.property(
        fc.record({
          $case: fc.constantFrom('batch', 'looseBatch'),
          size: fc.constantFrom(...SIZES),
          jitter: fc.nat(20),
          sequence: fc.oneof(fc.constant(0), fc.maxSafeNat()),
          continued: fc.boolean(),
          waited: fc.nat(),
          isQos1Only: fc.constantFrom(undefined, true),
          origin: fc.option(
            fc.record(
              {
                hint: fc.maxSafeNat(),
                incarnation: fc.maxSafeNat(),
                sequence: fc.maxSafeNat(),
                receiver: fc.maxSafeNat(),
              },
              { noNullPrototype: true },
            ),
            { nil: undefined },
          ),
        }),
        ({ $case, size, jitter, sequence, continued, waited, origin, isQos1Only }) => {
          const entries = Buffer.alloc(size + jitter, jitter)
          const body = { $case, value: { sequence, entries, continued, waited, origin, isQos1Only } } as LinkBody
          const frame = encodeLinkFrame(body)
          const generated = LinkFrame.encode({ messages: [{ body }] }).finish()
          assert.equal(frame.length, generated.length)
          for (const bytes of [frame, asBuffer(generated)]) {
            const [read, ...others] = decodeLinkFrame(bytes)
            assert.deepEqual(others, [])
            assert.ok(read?.$case === 'batch' || read?.$case === 'looseBatch')
            assert.deepEqual({ ...read.value, entries }, { sequence, entries, continued, waited, origin, isQos1Only })
            assert.equal(read.$case, $case)
            assert.equal(asBuffer(read.value.entries).equals(entries), true)
          }
        },
      ),
      { numRuns: 100 },
    )
  })
})
