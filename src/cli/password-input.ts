/** Where `passwd add` gets a password: typed at a terminal without being shown, or from standard input. */

import { CliError, EXIT_CODES } from './cli-error.js'

/** What a CONNECT can carry. [MQTT 5.0 section 1.5.6] */
const LONGEST_PASSWORD_BYTES = 65_535
const ENTER = new Set(['\r', '\n'])
const ERASE = new Set(['\u007f', '\b'])
const INTERRUPT = '\u0003'
const END = '\u0004'

/** @throws CliError when there is none, or one that cannot be used. */
export async function readPassword({ stdin }: { stdin: boolean }): Promise<string> {
  return stdin ? readLine() : askTwice()
}

async function readLine(): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    size += chunk.length
    if (size > LONGEST_PASSWORD_BYTES + 2) break
  }
  return checked(
    Buffer.concat(chunks)
      .toString('utf8')
      .replace(/\r?\n$/, ''),
  )
}

async function askTwice(): Promise<string> {
  if (!process.stdin.isTTY) {
    throw new CliError('standard input is no terminal; use --stdin to read the password from it', EXIT_CODES.usage)
  }
  const password = checked(await ask('Password: '))
  if ((await ask('Again: ')) !== password) throw new CliError('the two passwords differ')
  return password
}

/** One line from the terminal, without echo. */
function ask(prompt: string): Promise<string> {
  const { stdin, stderr } = process
  stderr.write(prompt)
  stdin.setRawMode(true)
  stdin.setEncoding('utf8')
  return new Promise((resolve, reject) => {
    let typed = ''
    const finish = (settle: () => void): void => {
      stdin.off('data', onData)
      stdin.setRawMode(false)
      stdin.pause()
      stderr.write('\n')
      settle()
    }
    const onData = (text: string): void => {
      for (const character of text) {
        if (ENTER.has(character)) return finish(() => resolve(typed))
        if (character === INTERRUPT || character === END) return finish(() => reject(new CliError('cancelled')))
        typed = ERASE.has(character) ? [...typed].slice(0, -1).join('') : typed + character
      }
    }
    stdin.on('data', onData)
    stdin.resume()
  })
}

function checked(password: string): string {
  if (password === '') throw new CliError('the password is empty')
  if (/\p{Cc}/u.test(password)) throw new CliError('a password is one line without control characters')
  if (Buffer.byteLength(password) > LONGEST_PASSWORD_BYTES) {
    throw new CliError(`a password has at most ${LONGEST_PASSWORD_BYTES} bytes`)
  }
  return password
}
