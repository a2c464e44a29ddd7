/** A run of inputs through the codec; a failure is shrunk and told with how to see it again. */

import { CodecTarget } from './codec-target.js'
import { FuzzFailure } from './failure.js'
import type { FuzzVersion } from './grammar.js'
import type { Inputs } from './inputs.js'
import { shrink } from './shrink.js'

const SHRINK_LIMITS = { attempts: 20_000, within: 30_000 }

export interface CodecReport {
  inputs: number
  accepted: number
  refused: number
  packets: number
  seconds: number
}

/** @throws FuzzFailure */
export async function fuzzCodec(
  inputs: Inputs,
  { first = 0, count }: { first?: number; count: number },
): Promise<CodecReport> {
  const target = new CodecTarget()
  const start = performance.now()
  for (let index = first; index < first + count; index += 1) {
    const input = inputs.at(index)
    try {
      target.try(input)
    } catch (error) {
      const bytes = await shrink(
        Buffer.concat(input.chunks),
        (shorter) => failureOf(shorter, input.version) !== undefined,
        SHRINK_LIMITS,
      )
      throw new FuzzFailure(
        'codec',
        { seed: inputs.seed, index, version: input.version, transport: 'tcp', bytes },
        error,
      )
    }
  }
  return { inputs: count, ...target.counts, seconds: (performance.now() - start) / 1_000 }
}

/** What goes wrong with these bytes, whole and in single bytes; undefined when nothing does. */
export function failureOf(bytes: Buffer, version: FuzzVersion): unknown {
  const single = Array.from(bytes, (_, at) => bytes.subarray(at, at + 1))
  try {
    for (const chunks of [[bytes], single]) {
      new CodecTarget().try({ version, chunks })
    }
    return undefined
  } catch (error) {
    return error
  }
}
