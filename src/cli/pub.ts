/** `shoalmq pub`: publishes what flags, a file or standard input say, and ends when it is acknowledged. */

import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { buffer } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { ErrorWithReasonCode } from 'mqtt'
import { CliError, EXIT_CODES } from './cli-error.js'
import { type MqttFlags, topicOfUrl } from './mqtt-flags.js'
import { type MqttSession, openSession } from './mqtt-session.js'

export interface PubFlags extends MqttFlags {
  topic?: string
  message?: string
  nullMessage?: true
  stdinLine?: true
  stdinFile?: true
  file?: string
  retain?: true
  repeat: number
  /** Seconds. */
  repeatDelay: number
}

/** Messages of `-l` that wait for their acknowledgement at once. */
const MAXIMUM_UNACKNOWLEDGED = 100

/** @throws CliError when the broker cannot be reached, refuses, or goes away before it has acknowledged everything. */
export async function publishCommand(flags: PubFlags): Promise<void> {
  const topic = flags.topic ?? topicOfUrl(flags)
  if (topic === undefined) throw new CliError('name a topic with -t', EXIT_CODES.usage)
  if (/[+#]/.test(topic) || topic === '') {
    throw new CliError(`${topic === '' ? 'an empty text' : topic} is not a topic name to publish to`, EXIT_CODES.usage)
  }
  requireOneSource(flags)
  // A file that cannot be read is said before anybody is dialed.
  const payload = flags.stdinLine === true ? undefined : await readPayload(flags)
  const session = await openSession(flags)
  const ended = new AbortController()
  try {
    const publishing =
      payload === undefined
        ? publishLines(session, topic, flags, ended.signal)
        : publishRepeatedly(session, topic, payload, flags)
    await Promise.race([publishing, session.lost])
  } finally {
    // Lets go of standard input, which would keep the process alive after a failure.
    ended.abort()
    await session.end()
  }
}

function requireOneSource(flags: PubFlags): void {
  const given = [flags.message, flags.nullMessage, flags.stdinLine, flags.stdinFile, flags.file]
  const count = given.filter((value) => value !== undefined).length
  if (count !== 1) throw new CliError('say what to publish with one of -m, -n, -l, -s and -f', EXIT_CODES.usage)
}

async function readPayload(flags: PubFlags): Promise<Buffer> {
  if (flags.message !== undefined) return Buffer.from(flags.message)
  if (flags.stdinFile === true) return buffer(process.stdin)
  if (flags.file === undefined) return Buffer.alloc(0)
  try {
    return await readFile(flags.file)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new CliError(`cannot read ${flags.file} (${code ?? 'unknown error'})`, EXIT_CODES.failure, { cause: error })
  }
}

async function publishRepeatedly(session: MqttSession, topic: string, payload: Buffer, flags: PubFlags): Promise<void> {
  for (let done = 0; done < flags.repeat; done += 1) {
    if (done > 0 && flags.repeatDelay > 0) await delay(flags.repeatDelay * 1_000)
    await publishOne(session, topic, payload, flags)
  }
}

/** Lines leave in order, many at a time; the first failure ends it. */
async function publishLines(session: MqttSession, topic: string, flags: PubFlags, signal: AbortSignal): Promise<void> {
  const waiting = new Set<Promise<void>>()
  const lines = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY, signal })
  for await (const line of lines) {
    const published = publishOne(session, topic, Buffer.from(line), flags)
    waiting.add(published)
    // The failure itself is seen by whoever waits below.
    published.then(
      () => waiting.delete(published),
      () => undefined,
    )
    if (waiting.size >= MAXIMUM_UNACKNOWLEDGED) await Promise.race(waiting)
  }
  await Promise.all(waiting)
}

async function publishOne(session: MqttSession, topic: string, payload: Buffer, flags: PubFlags): Promise<void> {
  try {
    await session.client.publishAsync(topic, payload, { qos: flags.qos, retain: flags.retain === true })
  } catch (error) {
    const refusal = error instanceof ErrorWithReasonCode ? error.message.replace(/^Publish error: /, '') : undefined
    const text = refusal === undefined ? `the connection to ${session.address} is lost` : `refused: ${refusal}`
    throw new CliError(`${topic}: not published, ${text}`, EXIT_CODES.failure, { cause: error })
  }
}
