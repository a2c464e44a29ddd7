/** One input is all bytes of one connection, in the chunks they come in; the seed and its number make it. */

import { Random } from '../support/random.js'
import { frame, Opcode, upgradeRequest } from '../support/web-socket-bytes.js'
import { type Capture, loadCaptures } from './captures.js'
import { type FuzzVersion, session, VERSIONS } from './grammar.js'
import { EDGES } from './hostile-values.js'
import { cut, mutateBytes, mutatePackets, splice } from './mutations.js'
import { encodeModel } from './packet-model.js'

/** What the client does once it has sent everything. */
export type Ending = 'end' | 'reset'

export type Transport = 'tcp' | 'websocket'

export interface Input {
  /** What the bytes began as. */
  version: FuzzVersion
  /** Bytes of MQTT. */
  chunks: Buffer[]
  transport: Transport
  /** What a node gets: the chunks, or over WebSocket an upgrade and frames around them. */
  wire: Buffer[]
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
    const chunks = cut(random, bytes)
    const transport = random.oneIn(16) ? 'websocket' : 'tcp'
    return {
      version,
      chunks,
      transport,
      wire: transport === 'tcp' ? chunks : webSocket(random, chunks),
      ending: random.oneIn(4) ? 'reset' : 'end',
      isDeaf: random.oneIn(20),
    }
  }

  private captured(random: Random): Buffer {
    return random.pick(this.captures).bytes
  }
}

/** The same bytes in WebSocket frames, every second time with something wrong in the upgrade or the frames. */
function webSocket(random: Random, chunks: readonly Buffer[]): Buffer[] {
  const upgrade = Buffer.from(upgradeRequest({ 'Sec-WebSocket-Key': random.bytes(16).toString('base64') }))
  const frames = chunks.map((payload) => frame({ opcode: Opcode.Binary, payload }))
  if (random.oneIn(2)) return [upgrade, ...frames]
  const at = random.below(frames.length + 1)
  const payload = random.bytes(random.below(130))
  switch (random.below(6)) {
    case 0:
      return [mutateBytes(random, upgrade), ...frames]
    case 1:
      return [upgrade, mutateBytes(random, Buffer.concat(frames))]
    case 2:
      return [upgrade, ...frames.slice(0, at), frame({ opcode: random.below(16), payload }), ...frames.slice(at)]
    case 3:
      return [upgrade, frame({ opcode: Opcode.Binary, payload, reserved: random.below(8), isMasked: false }), ...frames]
    case 4:
      return [upgrade, ...frames, frame({ opcode: Opcode.Binary, payload, claimedLength: BigInt(random.pick(EDGES)) })]
    default:
      return [
        upgrade,
        ...chunks.map((chunk, index) =>
          frame({
            opcode: index === 0 ? Opcode.Binary : Opcode.Continuation,
            payload: chunk,
            isFinal: random.oneIn(3),
          }),
        ),
      ]
  }
}

/** A session by grammar, with up to three of its packets changed. */
function generated(random: Random, version: FuzzVersion): Buffer {
  const packets = session(random, version)
  for (let times = random.below(4); times > 0; times -= 1) mutatePackets(random, packets)
  return Buffer.concat(packets.map(encodeModel))
}
