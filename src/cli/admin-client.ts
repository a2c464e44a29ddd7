/** What client commands ask a node: its admin HTTP server. */

import type { ClusterStatus } from '../cluster/status.js'
import { AddressError, formatHostPort, parseHostPort } from '../config/addresses.js'
import { CliError, EXIT_CODES, networkReason } from './cli-error.js'

/** Where client commands look when neither `--admin` nor this variable says otherwise. */
export const DEFAULT_ADMIN = '127.0.0.1:18083'
export const ADMIN_VARIABLE = 'SHOALMQ_ADMIN'

/** A node that does not answer in this time does not answer. */
const REQUEST_TIMEOUT_MS = 5_000

/**
 * Asks the node at `admin` (host:port) for its view of the cluster.
 * @throws CliError with one line when no node answers there.
 */
export async function fetchClusterStatus(admin: string): Promise<ClusterStatus> {
  const address = readAdminAddress(admin)
  let response: Response
  let body: string
  try {
    response = await fetch(`http://${address}/api/v1/cluster`, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) })
    body = await response.text()
  } catch (error) {
    const isTimeout = error instanceof DOMException && error.name === 'TimeoutError'
    const reason = isTimeout ? `no answer in ${REQUEST_TIMEOUT_MS / 1_000} s` : networkReason(error)
    throw new CliError(`no node answers at ${address}: ${reason}`, EXIT_CODES.failure, { cause: error })
  }
  if (!response.ok) throw new CliError(`${address} answers ${response.status} ${response.statusText}`)
  const status = parseStatus(body)
  if (status === undefined) throw new CliError(`${address} answers, but is not the admin port of a ShoalMQ node`)
  return status
}

function readAdminAddress(admin: string): string {
  try {
    return formatHostPort(parseHostPort(admin))
  } catch (error) {
    if (!(error instanceof AddressError)) throw error
    throw new CliError(`--admin ${admin}: ${error.message}`, EXIT_CODES.usage, { cause: error })
  }
}

function parseStatus(body: string): ClusterStatus | undefined {
  let status: unknown
  try {
    status = JSON.parse(body)
  } catch {
    // Not JSON, so not a node: the caller says so.
    return undefined
  }
  const isStatus = typeof status === 'object' && status !== null && 'nodes' in status && Array.isArray(status.nodes)
  return isStatus ? (status as ClusterStatus) : undefined
}
