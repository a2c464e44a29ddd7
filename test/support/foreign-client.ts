import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { eventually } from './eventually.js'
import { shoalmqEnvironment } from './node-process.js'

/** An MQTT client of somebody else, as a process: its output is collected, and it is gone when the test ends. */
export class ForeignClient {
  private output = ''
  private errors = ''
  private readonly exit: Promise<number | null>

  private constructor(
    private readonly child: ChildProcess,
    private readonly name: string,
  ) {
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.output += text
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text
    })
    this.exit = once(child, 'close').then(([code]) => code as number | null)
  }

  static start(context: TestContext, command: readonly string[]): ForeignClient {
    const [file = '', ...parameters] = command
    const child = spawn(file, parameters, { env: shoalmqEnvironment({}), stdio: ['ignore', 'pipe', 'pipe'] })
    context.after(() => child.kill('SIGKILL'))
    return new ForeignClient(child, file)
  }

  /** Runs a command to its successful end and returns its lines. */
  static async run(context: TestContext, command: readonly string[]): Promise<string[]> {
    const client = ForeignClient.start(context, command)
    return client.finished()
  }

  /** Lines written until now, the last of them maybe half. */
  lines(): string[] {
    return this.output.split('\n').filter((line) => line !== '')
  }

  /** Waits for a line like this. */
  async says(pattern: RegExp): Promise<void> {
    await eventually(
      () => {
        if (!this.lines().some((line) => pattern.test(line)))
          throw new Error(`${this.name} has not said ${pattern}: ${this.all()}`)
      },
      { within: 15_000 },
    )
  }

  /** Its end; a failure is an error that shows what it wrote. */
  async finished(): Promise<string[]> {
    const code = await this.exit
    if (code !== 0) throw new Error(`${this.name} ended with ${code}: ${this.all()}`)
    return this.lines()
  }

  /** Ends it without giving it a word to say. */
  kill(): void {
    this.child.kill('SIGKILL')
  }

  private all(): string {
    return `${this.output}${this.errors}`
  }
}
