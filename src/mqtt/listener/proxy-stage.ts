/** Takes the PROXY header off the beginning of a connection. */

import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import type { Arrival, Stage } from './arrival.js'
import { type ProxyHeader, ProxyHeaderError, type ProxyVersions, parseProxyHeader } from './proxy-header.js'

export interface ProxyStageModules {
  readonly next: Stage
  readonly log: Logger
}

const NOTHING: Buffer = Buffer.alloc(0)

export class ProxyStage implements Stage {
  constructor(
    private readonly versions: ProxyVersions,
    private readonly modules: ProxyStageModules,
  ) {}

  begin(arrival: Arrival): void {
    const { socket } = arrival
    let bytes: Buffer = NOTHING
    const onReadable = (): void => {
      bytes = readInto(socket, bytes)
      if (bytes.length === 0) return
      const header = this.parse(bytes, arrival)
      if (header === undefined) return
      socket.off('readable', onReadable)
      if (header.length < bytes.length) socket.unshift(bytes.subarray(header.length))
      if (header.source === undefined || arrival.locate(header.source)) this.modules.next.begin(arrival)
    }
    socket.on('readable', onReadable)
  }

  private parse(bytes: Buffer, arrival: Arrival): ProxyHeader | undefined {
    try {
      return parseProxyHeader(bytes, this.versions)
    } catch (error) {
      if (!(error instanceof ProxyHeaderError)) throw error
      this.modules.log.debug({ proxy: arrival.socket.remoteAddress, detail: error.message }, 'bad PROXY header')
      arrival.refuse('proxy_header')
      return undefined
    }
  }
}

function readInto(socket: Socket, bytes: Buffer): Buffer {
  let all = bytes
  for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
    all = all.length === 0 ? chunk : Buffer.concat([all, chunk])
  }
  return all
}
