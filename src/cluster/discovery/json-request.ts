/** One request for JSON to a server of the operator's: bounded in time and size, with the files of TLS read anew. */

import { readFile } from 'node:fs/promises'
import { type RequestOptions, request as requestPlain } from 'node:http'
import { request as requestTls } from 'node:https'
import { NodeError } from '../../util/errors.js'

const TIMEOUT_MS = 5_000

/** A thousand nodes take some hundred kilobytes. */
const MAXIMUM_ANSWER_BYTES = 4 * 1024 * 1024

/** What is shown of an answer that says no. */
const MAXIMUM_DETAIL_LENGTH = 200

/** Paths of PEM files; '' for none. */
export interface TlsClientFiles {
  caFile: string
  certFile: string
  keyFile: string
}

export interface JsonRequest {
  url: URL
  method: 'GET' | 'POST'
  headers?: Readonly<Record<string, string>>
  body?: unknown
  files: TlsClientFiles
  signal: AbortSignal
}

/**
 * The parsed answer.
 * @throws NodeError DISCOVERY_STATUS_{status} when the server says no, DISCOVERY_ANSWER when it is no JSON or too
 *   much, DISCOVERY_TIMEOUT; or what the system says of the connection or of the files
 */
export async function requestJson({ url, method, headers = {}, body, files, signal }: JsonRequest): Promise<unknown> {
  const isTls = url.protocol === 'https:'
  const sent = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
  const options: RequestOptions = {
    method,
    // A connection for each: rounds are seconds apart, and new certificates and addresses count at once.
    agent: false,
    signal,
    headers: {
      accept: 'application/json',
      ...(sent === undefined ? {} : { 'content-type': 'application/json', 'content-length': sent.length }),
      ...headers,
    },
    ...(isTls ? await readFiles(files) : {}),
  }
  return new Promise((resolve, reject) => {
    const request = (isTls ? requestTls : requestPlain)(url, options, (response) => {
      const chunks: Buffer[] = []
      let length = 0
      response.on('data', (chunk: Buffer) => {
        length += chunk.length
        chunks.push(chunk)
        if (length > MAXIMUM_ANSWER_BYTES) request.destroy(answerError(url, 'the answer is too long'))
      })
      response.on('error', reject)
      response.on('end', () => {
        clearTimeout(timer)
        const text = Buffer.concat(chunks).toString()
        const status = response.statusCode ?? 0
        if (status >= 200 && status < 300) resolve(parse(url, text, reject))
        else reject(statusError(url, status, text))
      })
    })
    const timer = setTimeout(() => {
      request.destroy(new NodeError(`no answer from ${url.host} in time`, { code: 'DISCOVERY_TIMEOUT' }))
    }, TIMEOUT_MS)
    request.on('error', reject)
    request.on('close', () => clearTimeout(timer))
    request.end(sent)
  })
}

/** A text file without the white space around it. */
export async function readTrimmed(path: string): Promise<string> {
  return (await readFile(path, 'utf8')).trim()
}

async function readFiles({ caFile, certFile, keyFile }: TlsClientFiles) {
  return {
    ...(caFile === '' ? {} : { ca: await readFile(caFile) }),
    ...(certFile === '' ? {} : { cert: await readFile(certFile) }),
    ...(keyFile === '' ? {} : { key: await readFile(keyFile) }),
  }
}

function parse(url: URL, text: string, reject: (error: Error) => void): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    reject(answerError(url, 'the answer is no JSON', error))
    return undefined
  }
}

function answerError(url: URL, why: string, cause?: unknown): Error {
  return new NodeError(`${url.host}${url.pathname}: ${why}`, { code: 'DISCOVERY_ANSWER' }, { cause })
}

function statusError(url: URL, status: number, text: string): Error {
  const detail = text.slice(0, MAXIMUM_DETAIL_LENGTH)
  return new NodeError(`${url.host}${url.pathname} answers ${status}: ${detail}`, {
    code: `DISCOVERY_STATUS_${status}`,
  })
}
