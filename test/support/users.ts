import { randomBytes } from 'node:crypto'
import { hashPassword } from '../../src/access/password-hash.js'
import { scramCredentials } from '../../src/access/scram.js'
import { formatUser } from '../../src/access/users-file.js'

/** Cheap to make: how dear hashes are is not what tests of the wire are about. */
const LOG_COST = 10
const SCRAM_ITERATIONS = 4_096

/** What a user's password is in these files. */
export function passwordOf(username: string): string {
  return `secret of ${username}`
}

/** The content of a users file with these users; one that stands there as `name=password` has that password. */
export async function usersFile(...users: readonly string[]): Promise<string> {
  const lines = users.map(async (user) => {
    const [username = '', password = passwordOf(username)] = user.split('=')
    return formatUser({
      username,
      password: await hashPassword(Buffer.from(password), LOG_COST),
      scram: scramCredentials(password, randomBytes(16), SCRAM_ITERATIONS),
    })
  })
  return `${(await Promise.all(lines)).join('\n')}\n`
}
