import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { shoalmqCommand } from '../../support/node-process.js'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

export interface RunningCommand {
  /** What it has written so far. */
  readonly output: { stdout: string; stderr: string }
  readonly ended: Promise<Ended>
  signal(signal: NodeJS.Signals): void
}

export interface CommandOptions {
  env?: Record<string, string>
  /** Standard input, which ends with it. */
  input?: string
}

/** The command line as a process of its own. */
export function startShoalmq(
  parameters: readonly string[],
  { env = {}, input = '' }: CommandOptions = {},
): RunningCommand {
  const [file = '', ...command] = shoalmqCommand()
  const child = spawn(file, [...command, ...parameters], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, ...env },
  })
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text
  })
  // A command that has failed does not read what is still to come.
  child.stdin.on('error', () => child.stdin.destroy())
  child.stdin.end(input)
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, ...output }))
  })
  return { output, ended, signal: (signal) => child.kill(signal) }
}

export function runShoalmq(parameters: readonly string[], options?: CommandOptions): Promise<Ended> {
  return startShoalmq(parameters, options).ended
}
