/** What client commands ask a node: its admin HTTP server. */

import type { ClusterStatus } from '../cluster/status.js'
import { AddressError, formatHostPort, parseHostPort } from '../config/addresses.js'
import { CliError, EXIT_CODES, networkReason } from './cli-error.js'

/** Where client commands look when neither `--admin` nor this variable says otherwise. */
export const DEFAULT_ADMIN = '127.0.0.1:18083'
export const ADMIN_VARIABLE = 'SHOALMQ_ADMIN'

/** A node that does not answer in this time does not answer. */
const REQUEST_TIMEOUT_MS = 5_000

/** One question to a node. */
export interface AdminRequest {
  readonly method?: 'GET' | 'POST' | 'DELETE'
  /** Below `/api/v1/`, encoded. */
  readonly path: string
  /** Those without a value are left out. */
  readonly parameters?: Readonly<Record<string, string | boolean | number | undefined>>
}

/**
 * Asks the node at `admin` (host:port) for its view of the cluster.
 * @throws CliError with one line when no node answers there.
 */
export async function fetchClusterStatus(admin: string): Promise<ClusterStatus> {
  return (await askNode(admin, { path: 'cluster' })) as ClusterStatus
}

/**
 * The answer of the node at `admin` (host:port), parsed.
 * @throws CliError with one line when no node answers there, or the node says no.
 */
export async function askNode(
  admin: string,
  { method = 'GET', path, parameters = {} }: AdminRequest,
): Promise<unknown> {
  const address = readAdminAddress(admin)
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) query.set(name, String(value))
  const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS)
  let response: Response
  let text: string
  try {
    response = await fetch(`http://${address}/api/v1/${path}?${query}`, { method, signal })
    text = await response.text()
  } catch (error) {
    const isTimeout = error instanceof DOMException && error.name === 'TimeoutError'
    const reason = isTimeout ? `no answer in ${REQUEST_TIMEOUT_MS / 1_000} s` : networkReason(error)
    throw new CliError(`no node answers at ${address}: ${reason}`, EXIT_CODES.failure, { cause: error })
  }
  const body = parseObject(text)
  if (!response.ok) {
    const said =
      body !== undefined && 'error' in body ? String(body.error) : `${response.status} ${response.statusText}`
    throw new CliError(`${address} answers ${said}`)
  }
  if (body === undefined) throw new CliError(`${address} answers, but is not the admin port of a ShoalMQ node`)
  return body
}

function readAdminAddress(admin: string): string {
  try {
    return formatHostPort(parseHostPort(admin))
  } catch (error) {
    if (!(error instanceof AddressError)) throw error
    throw new CliError(`--admin ${admin}: ${error.message}`, EXIT_CODES.usage, { cause: error })
  }
}

function parseObject(text: string): object | undefined {
  try {
    const body: unknown = JSON.parse(text)
    return typeof body === 'object' && body !== null ? body : undefined
  } catch {
    // Not JSON, so not a node: the caller says so.
    return undefined
  }
}
