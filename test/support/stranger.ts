import { once } from 'node:events'
import { Client, credentials, Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js'
import { decodeLinkFrame, encodeLinkFrame, LINK_PATH, type LinkBody, PROTOCOL_VERSION } from '../../src/cluster/wire.js'

const identity = (bytes: Buffer): Buffer => bytes

/** What a node of a release far ahead would say of itself. */
const NEWER = { protocol: PROTOCOL_VERSION + 5, minimumProtocol: PROTOCOL_VERSION + 3 }

/** Versions of the link protocol that a node says it speaks. */
export interface Versions {
  protocol: number
  minimumProtocol: number
}

function selfOf(address: string, versions: Versions) {
  return {
    ...versions,
    identity: { cluster: 'shoalmq', node: 'stranger@127.0.0.1', incarnation: 1, address, software: '99.0.0' },
    nonce: new Uint8Array(32).fill(7),
  }
}

/** Dials a node as a peer whose protocol is too new. */
export function dialAsNewerNode(address: string): Promise<LinkBody | undefined> {
  return dialWithVersions(address, NEWER)
}

/** Dials a node as a peer that speaks these versions; returns what the node answers. */
export async function dialWithVersions(address: string, versions: Versions): Promise<LinkBody | undefined> {
  const client = new Client(address, credentials.createInsecure())
  const call = client.makeBidiStreamRequest(LINK_PATH, identity, identity)
  // The node ends the call once it has refused; that is no failure of ours.
  call.on('error', () => undefined)
  try {
    call.write(encodeLinkFrame({ $case: 'hello', value: { ...selfOf('127.0.0.1:1', versions), sole: false } }))
    const [bytes] = (await once(call, 'data')) as [Buffer]
    return decodeLinkFrame(bytes)[0]
  } finally {
    call.cancel()
    client.close()
  }
}

/** A cluster port behind which a node with a protocol that is too new answers; keeps what the dialing nodes say. */
export class NewerNode {
  readonly heard: LinkBody[] = []
  private readonly server = new Server()

  private constructor() {
    this.server.addService(
      {
        link: {
          path: LINK_PATH,
          requestStream: true,
          responseStream: true,
          requestSerialize: identity,
          requestDeserialize: identity,
          responseSerialize: identity,
          responseDeserialize: identity,
        },
      },
      { link: (call: ServerDuplexStream<Buffer, Buffer>) => this.onLink(call) },
    )
  }

  static async listen(address: string): Promise<NewerNode> {
    const node = new NewerNode()
    await new Promise<void>((resolve, reject) => {
      node.server.bindAsync(address, ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      )
    })
    return node
  }

  stop(): void {
    this.server.forceShutdown()
  }

  private onLink(call: ServerDuplexStream<Buffer, Buffer>): void {
    call.on('error', () => call.end())
    call.on('end', () => call.end())
    call.on('data', (bytes: Buffer) => {
      const [body] = decodeLinkFrame(bytes)
      if (body === undefined) return
      this.heard.push(body)
      if (body.$case === 'hello')
        call.write(encodeLinkFrame({ $case: 'challenge', value: selfOf('127.0.0.1:1', NEWER) }))
    })
  }
}
