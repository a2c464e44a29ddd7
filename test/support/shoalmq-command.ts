import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { shoalmqCommand, shoalmqEnvironment } from './node-process.js'

const run = promisify(execFile)

/** A command that should be over at once must not hold the suite. */
const COMMAND_TIMEOUT_MS = 20_000

export interface Outcome {
  code: number
  stdout: string
  stderr: string
}

/** Runs `shoalmq` to its end, whatever that is. */
export async function shoalmq(
  parameters: readonly string[],
  environment: Record<string, string> = {},
): Promise<Outcome> {
  const [file = '', ...command] = shoalmqCommand()
  try {
    const env = shoalmqEnvironment(environment)
    const { stdout, stderr } = await run(file, [...command, ...parameters], { env, timeout: COMMAND_TIMEOUT_MS })
    return { code: 0, stdout, stderr }
  } catch (error) {
    const { code, stdout, stderr } = error as { code: unknown; stdout: string; stderr: string }
    if (typeof code !== 'number') throw error
    return { code, stdout, stderr }
  }
}
