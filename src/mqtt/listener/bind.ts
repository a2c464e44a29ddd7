/** Binds a server to the address of a listener, and says in one line why it cannot. */

import { chmodSync, lstatSync, rmSync } from 'node:fs'
import { connect, type Server } from 'node:net'
import { formatListener, type ListenerAddress } from '../../config/addresses.js'
import { NodeError } from '../../util/errors.js'

/**
 * PORT_TAKEN: somebody listens there already; PORT_UNAVAILABLE: the system refuses for the reason given. PATH_TAKEN
 * and PATH_UNAVAILABLE: the same of a Unix domain socket.
 */
export interface ListenDetails {
  code: 'PORT_TAKEN' | 'PORT_UNAVAILABLE' | 'PATH_TAKEN' | 'PATH_UNAVAILABLE'
  /** 0 for a Unix domain socket. */
  port: number
  listener: string
  /** Of the system: EADDRINUSE, EACCES, EADDRNOTAVAIL and so on. */
  reason: string
}

/** A listener cannot listen. */
export class ListenError extends NodeError<ListenDetails> {
  constructor(address: ListenerAddress, cause: NodeJS.ErrnoException) {
    const listener = formatListener(address)
    const reason = cause.code ?? 'UNKNOWN'
    const isTaken = reason === 'EADDRINUSE'
    const text = isTaken ? 'is already in use' : `cannot be listened on (${reason})`
    const isPath = address.scheme === 'unix'
    const place = isPath ? `socket ${address.path}` : `port ${address.port}`
    const code = `${isPath ? 'PATH' : 'PORT'}_${isTaken ? 'TAKEN' : 'UNAVAILABLE'}` as const
    super(`${place} (listener ${listener}) ${text}`, { code, port: address.port, listener, reason }, { cause })
  }
}

/** Connections that the kernel may hold until they are accepted: a fleet that reconnects comes all at once. */
const BACKLOG = 4096

/**
 * Resolves when the server listens. The socket file of a process that is gone is replaced.
 * @param socketMode permissions of a Unix domain socket, in octal digits.
 * @throws ListenError
 */
export async function bind(server: Server, address: ListenerAddress, socketMode: string): Promise<void> {
  try {
    if (address.scheme === 'unix') await bindPath(server, address.path, socketMode)
    else await listen(server, { host: address.host, port: address.port, backlog: BACKLOG })
  } catch (error) {
    throw new ListenError(address, error as NodeJS.ErrnoException)
  }
}

async function bindPath(server: Server, path: string, mode: string): Promise<void> {
  try {
    await listen(server, { path, backlog: BACKLOG })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || !(await isLeftOver(path))) throw error
    rmSync(path)
    await listen(server, { path, backlog: BACKLOG })
  }
  chmodSync(path, Number.parseInt(mode, 8))
}

/** Whether the file is a socket that nobody listens on; anything else is somebody's. */
async function isLeftOver(path: string): Promise<boolean> {
  if (!lstatSync(path).isSocket()) return false
  return new Promise((resolve) => {
    const probe = connect(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(false)
    })
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'))
  })
}

function listen(
  server: Server,
  where: { host?: string; port?: number; path?: string; backlog: number },
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(where, () => {
      server.off('error', reject)
      resolve()
    })
  })
}
