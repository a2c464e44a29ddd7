/** Options of access: who may connect and who may do what. */

import { z } from 'zod'
import { boolean, choice, count, duration, text } from './option.js'

export const accessSchema = z.strictObject({
  usersFile: text(
    '',
    { accepted: 'a path' },
    'The users file, made with `shoalmq passwd`. With it, clients need a user name and a password, unless `allowAnonymous` is true. Read again when it changes.',
  ),
  aclFile: text(
    '',
    { accepted: 'a path' },
    'The ACL file: rules about who may publish and subscribe what. Without it every client may do everything, save read `$SYS` topics from another machine. Read again when it changes.',
  ),
  onDenied: choice(
    'ignore',
    ['ignore', 'disconnect'],
    'What happens to a client that publishes or subscribes without the right to: `ignore` refuses (0x87 where MQTT 5 has a place for it, 0x80 in SUBACK before; a message of an earlier client is acknowledged and dropped), `disconnect` ends the connection.',
  ),
  denyOverlapping: boolean(
    true,
    'A subscription is refused when it could bring a message that a deny rule before it is about: with `secret/#` denied, `#` is too. `false` refuses only what a deny rule covers whole, as EMQX does.',
  ),
  reloadInterval: duration(
    '2s',
    ['50ms', '1h'],
    'How often the files are looked at. A change is applied when the file was the same at two looks.',
  ),
  concurrentHashes: count(
    2,
    [1, 64],
    'Passwords checked at the same time, each on a thread of its own and with the memory its hash asks for (16 MB by default). Node.js has 4 such threads (`UV_THREADPOOL_SIZE`).',
  ),
  loginQueue: count(
    1_000,
    [1, 100_000],
    'Logins that wait for their password to be checked; further ones are refused as busy (0x89). A client that gives up is not checked.',
  ),
  rememberLogins: duration(
    '10m',
    ['0', '1d'],
    'For how long a right password is remembered, by a digest under a key of this process, so that reconnecting is not hashed again. Of each user the last one, 50,000 users at most. 0 remembers nothing.',
  ),
})
