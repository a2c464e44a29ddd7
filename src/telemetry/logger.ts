/** Logs: one JSON object per line, or lines for people on a terminal. Rooms get a child: `log.child({ room: 'cluster' })`. */

import { Writable } from 'node:stream'
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

/** Kept on the target itself: a process may have many loggers with one standard output, and listens to it once. */
const IS_READ = Symbol('isRead')

/** What `createLogger` writes to when nothing else is said. */
export interface LogTarget extends DestinationStream {
  isTTY?: boolean
  on?(event: 'error', listener: (error: Error) => void): unknown
  /** False from the moment that nobody reads it any more; undefined when nothing was logged there yet. */
  [IS_READ]?: boolean
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
  const steady = survivingLoss(target)
  return isPretty ? pino(options, prettyStream(steady, target.isTTY === true)) : pino(options, steady)
}

/**
 * The target, until whoever reads it goes away (a pipe to a program that has ended): from then on lines are dropped.
 * The node goes on; an uncaught error of the log itself would end it, and could not even be logged.
 */
function survivingLoss(target: LogTarget): Writable {
  if (target[IS_READ] === undefined) {
    target[IS_READ] = true
    target.on?.('error', () => {
      target[IS_READ] = false
    })
  }
  return new Writable({
    decodeStrings: false,
    write(line: string, _encoding, done) {
      if (target[IS_READ] === true) target.write(line)
      done()
    },
  })
}

function prettyStream(target: Writable, isTerminal: boolean): DestinationStream {
  return PinoPretty({
    sync: true,
    singleLine: true,
    colorize: isTerminal,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'node,room',
    messageFormat: '{if room}{room}: {end}{msg}',
    destination: target,
  })
}
