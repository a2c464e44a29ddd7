/** What a fuzz run has found, and how to see it again. */

import type { FuzzVersion } from './grammar.js'
import type { Transport } from './inputs.js'

export interface FoundBy {
  seed: number
  /** Of the input that failed, or of the last one that was sent before the failure was seen. */
  index: number
  version: FuzzVersion
  transport: Transport
  /** The shortest bytes that still fail; undefined when no single input does it. */
  bytes: Buffer | undefined
}

/** Longer inputs are told by seed and number alone. */
const LONGEST_SHOWN_BYTES = 4_096

export class FuzzFailure extends Error {
  override readonly name = 'FuzzFailure'

  constructor(
    target: 'codec' | 'node',
    readonly found: FoundBy,
    cause: unknown,
  ) {
    const { seed, index, version, transport, bytes } = found
    const how = target === 'codec' ? `--version ${version}` : `--transport ${transport}`
    const reason = cause instanceof Error ? cause.message : String(cause)
    const lines = [`${target}: ${reason}`, `seed ${seed}, input ${index}, version ${version} over ${transport}`]
    if (bytes === undefined) {
      lines.push('no single input does it; the run from its beginning:')
      lines.push(`npm run fuzz -- --target ${target} --seed ${seed} --inputs ${index + 1}`)
    } else if (bytes.length > LONGEST_SHOWN_BYTES) {
      lines.push(`npm run fuzz -- --target ${target} --seed ${seed} --first ${index} --inputs 1`)
    } else {
      lines.push(`shortest input (${bytes.length} bytes): ${bytes.toString('hex')}`)
      lines.push(`npm run fuzz -- --target ${target} ${how} --hex ${bytes.toString('hex')}`)
    }
    super(lines.join('\n'), { cause })
  }
}
