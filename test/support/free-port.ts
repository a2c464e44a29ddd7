import { createServer } from 'node:net'

/** Below the system's ephemeral ports (32768…): a node's port stays its own while the node is down, and nobody dials out from it. */
const FIRST_PORT = 20_000
const LAST_PORT = 31_999

/** Test files run in processes of their own; each starts its search elsewhere, so that two of them rarely meet. */
let next = FIRST_PORT + ((process.pid * 97) % (LAST_PORT - FIRST_PORT))

/**
 * A TCP port of `host` that nothing listens on and that this process has not handed out before. For nodes that must
 * come back on the port they had; whoever can listen on port 0 should.
 */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (let attempts = 0; attempts <= LAST_PORT - FIRST_PORT; attempts += 1) {
    const port = next
    next = next === LAST_PORT ? FIRST_PORT : next + 1
    if (await isFree(port, host)) return port
  }
  throw new Error(`no free port between ${FIRST_PORT} and ${LAST_PORT} on ${host}`)
}

function isFree(port: number, host: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false)
      else reject(error)
    })
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)))
  })
}
