/** Logs: one JSON object per line, or lines for people on a terminal. Rooms get a child: `log.child({ room: 'cluster' })`. */

import { type DestinationStream, type Logger, type LoggerOptions, pino, stdTimeFunctions } from 'pino'
import { PinoPretty } from 'pino-pretty'

export type { Logger } from 'pino'

/** Wherever a log line carries one of these fields, at the top or one level down, its value is not written. */
const SECRET_FIELDS = ['secret', 'password', 'cluster.secret', '*.secret', '*.password', '*.cluster.secret']

/** `log` of the configuration. */
export interface LogSettings {
  /** The least severe lines that are written: trace, debug, info, warn, error, fatal or silent. */
  readonly level: string
  /** `auto` is `pretty` on a terminal and `json` otherwise. */
  readonly format: 'auto' | 'json' | 'pretty'
}

/** What `createLogger` writes to when nothing else is said. */
export interface LogTarget extends DestinationStream {
  isTTY?: boolean
}

/**
 * The root logger of a node. `bindings` are on every line, usually `{ node: 'n1@127.0.0.1' }`. Lines are written
 * before the call returns, so the last words of a process that dies are not lost.
 */
export function createLogger(
  { level, format }: LogSettings,
  bindings: Readonly<Record<string, unknown>>,
  target: LogTarget = process.stdout,
): Logger {
  const options: LoggerOptions = {
    level,
    base: bindings,
    timestamp: stdTimeFunctions.isoTime,
    redact: { paths: SECRET_FIELDS, censor: '[secret]' },
  }
  const isPretty = format === 'pretty' || (format === 'auto' && target.isTTY === true)
  return isPretty ? pino(options, prettyStream(target)) : pino(options, target)
}

function prettyStream(target: LogTarget): DestinationStream {
  return PinoPretty({
    sync: true,
    singleLine: true,
    colorize: target.isTTY === true,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'node,room',
    messageFormat: '{if room}{room}: {end}{msg}',
    destination: target as NodeJS.WritableStream,
  })
}
