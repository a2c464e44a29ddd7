/** One input is all bytes of one connection, in the chunks they come in; the seed and its number make it. */

import { Random } from '../support/random.js'
import { type Capture, loadCaptures } from './captures.js'
import { type FuzzVersion, session, VERSIONS } from './grammar.js'
import { cut, mutateBytes, mutatePackets, splice } from './mutations.js'
import { encodeModel } from './packet-model.js'

/** What the client does once it has sent everything. */
export type Ending = 'end' | 'reset'

export interface Input {
  /** What the bytes began as. */
  version: FuzzVersion
  chunks: Buffer[]
  ending: Ending
  /** Reads nothing of what comes back. */
  isDeaf: boolean
}

export class Inputs {
  private readonly captures: readonly Capture[]

  constructor(readonly seed: number) {
    this.captures = loadCaptures()
  }

  /** The same for the same seed and index, whatever was asked for before. */
  at(index: number): Input {
    const random = new Random(Math.imul(this.seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b))
    const version = random.pick(VERSIONS)
    let bytes = random.oneIn(4) ? this.captured(random) : generated(random, version)
    // One in eight is left as it is: what lies behind a good session is reached by good sessions.
    if (!random.oneIn(8)) {
      if (random.oneIn(16)) bytes = splice(random, bytes, generated(random, version))
      for (let times = random.below(3); times > 0; times -= 1) bytes = mutateBytes(random, bytes)
    }
    return {
      version,
      chunks: cut(random, bytes),
      ending: random.oneIn(4) ? 'reset' : 'end',
      isDeaf: random.oneIn(20),
    }
  }

  private captured(random: Random): Buffer {
    return random.pick(this.captures).bytes
  }
}

/** A session by grammar, with up to three of its packets changed. */
function generated(random: Random, version: FuzzVersion): Buffer {
  const packets = session(random, version)
  for (let times = random.below(4); times > 0; times -= 1) mutatePackets(random, packets)
  return Buffer.concat(packets.map(encodeModel))
}
