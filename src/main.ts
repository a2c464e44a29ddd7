/** The process of a node: configuration in, exit code out; signals and the errors that nobody caught in between. */

import type { Config } from './config/options.js'
import { Node } from './node.js'
import { createLogger, type Logger } from './telemetry/logger.js'
import { asError, NodeError } from './util/errors.js'
import { VERSION } from './version.js'

/** The node was stopped by a signal and has left cleanly. */
const EXIT_STOPPED = 0
/** It could not start, or an error that nobody caught ended it. */
const EXIT_FAILED = 1
/**
 * Ctrl-C under npm and npx comes twice, from the terminal and from npm: a second signal in this time is the same one.
 */
const SAME_SIGNAL_MS = 1_000
/** 128 and the number of the signal, as shells say it. */
const EXIT_FORCED: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143 }

type StopSignal = 'SIGINT' | 'SIGTERM'

/**
 * Runs a node until SIGTERM or SIGINT and resolves with the exit code of the process. A second signal does not wait
 * for the clean end of the first. The caller ends the process: after an uncaught error things may still be open.
 */
export async function runNode(config: Config): Promise<number> {
  const log = createLogger(config.log, { node: config.name })
  const ending = new ProcessEnding(log)
  try {
    const node = new Node(config, { log })
    return await Promise.race([ending.forced, serve(node, config, log, ending.asked)])
  } catch (error) {
    // One line for the reader: what is wrong stands in the message; the stack is for those who ask for it.
    log.fatal(errorFields(error), startFailure(error))
    log.debug({ err: error }, 'why the node did not start')
    return EXIT_FAILED
  } finally {
    ending.dispose()
  }
}

async function serve(node: Node, config: Config, log: Logger, asked: Promise<StopSignal>): Promise<number> {
  await node.start()
  log.info(
    {
      version: VERSION,
      listeners: node.listening,
      admin: node.adminAddress,
      cluster: node.clusterAddress,
      clusterName: config.cluster.name,
      incarnation: node.incarnation,
      pid: process.pid,
    },
    'serving',
  )
  const signal = await asked
  log.info({ signal }, 'stopping')
  await node.stop()
  log.info('stopped')
  return EXIT_STOPPED
}

/** Signals and uncaught errors, as promises. */
class ProcessEnding {
  /** The first signal. */
  readonly asked: Promise<StopSignal>
  /** The exit code of what cannot wait: the second signal, or an uncaught error. */
  readonly forced: Promise<number>
  private ask: (signal: StopSignal) => void = () => undefined
  private force: (code: number) => void = () => undefined
  /** When the first signal came, by `performance.now()`. */
  private askedAt: number | undefined

  constructor(private readonly log: Logger) {
    this.asked = new Promise((resolve) => {
      this.ask = resolve
    })
    this.forced = new Promise((resolve) => {
      this.force = resolve
    })
    process.on('SIGINT', this.onSignal)
    process.on('SIGTERM', this.onSignal)
    process.on('uncaughtException', this.onUncaught)
    process.on('unhandledRejection', this.onUncaught)
  }

  /**
   * Ends the watch for uncaught errors. The signals stay caught to the very end of the process: the second half of a
   * Ctrl-C under npm may come after the node has stopped, and would turn its clean end into a death by signal.
   */
  dispose(): void {
    process.off('uncaughtException', this.onUncaught)
    process.off('unhandledRejection', this.onUncaught)
  }

  private readonly onSignal = (signal: NodeJS.Signals): void => {
    const stopSignal: StopSignal = signal === 'SIGINT' ? 'SIGINT' : 'SIGTERM'
    const now = performance.now()
    if (this.askedAt !== undefined && now - this.askedAt > SAME_SIGNAL_MS) {
      this.log.warn({ signal }, 'stopping without waiting')
      this.force(EXIT_FORCED[stopSignal])
    }
    this.askedAt ??= now
    this.ask(stopSignal)
  }

  private readonly onUncaught = (thrown: unknown): void => {
    this.log.fatal({ err: asError(thrown) }, 'uncaught error, the node ends')
    this.force(EXIT_FAILED)
  }
}

function errorFields(error: unknown): Record<string, unknown> {
  if (error instanceof NodeError) return { ...error.details }
  const { code } = asError(error) as NodeJS.ErrnoException
  return code === undefined ? {} : { code }
}

/** What kept a node from starting, in one line. */
function startFailure(error: unknown): string {
  return error instanceof NodeError ? error.message : `the node cannot start: ${asError(error).message}`
}
