/** The commands of access on the command line: `passwd` and `acl`. */

import { Argument, type Command, Option } from 'commander'
import { DEFAULT_LOG_COST, LOG_COST_RANGE } from '../access/password-hash.js'
import { SCRAM_LEAST_ITERATIONS } from '../access/scram.js'
import { DEFAULT_SCRAM_ITERATIONS, SCRAM_MOST_ITERATIONS } from '../access/scram-verifier.js'
import { type AclCheckAction, type AclCheckFlags, checkAcl } from './acl-check.js'
import { wholeNumber } from './mqtt-flags.js'
import { addUser, listUsers, type PasswdAddFlags, removeUser } from './passwd.js'

export interface CommandOutput {
  print(text: string): void
  exitWith(code: number): void
}

export function addAccessCommands(program: Command, { print, exitWith }: CommandOutput): void {
  const passwd = program.command('passwd').description('the users file (access.usersFile)')
  passwd
    .command('add')
    .description('add a user, or give one a new password; it is asked for, or read with --stdin')
    .argument('<username>')
    .requiredOption('--file <path>', 'the users file; made when there is none')
    .option('--stdin', 'the password is what comes on standard input, one line')
    .option(
      '--cost <log2>',
      'cost of the scrypt hash as a power of two; each step doubles time and memory',
      wholeNumber(...LOG_COST_RANGE),
      DEFAULT_LOG_COST,
    )
    .option('--no-scram', 'no verifier for SCRAM-SHA-256')
    .option(
      '--scram-iterations <count>',
      'cost of that verifier, for the client too',
      wholeNumber(SCRAM_LEAST_ITERATIONS, SCRAM_MOST_ITERATIONS),
      DEFAULT_SCRAM_ITERATIONS,
    )
    .action(async (username: string, flags: PasswdAddFlags) => print(await addUser(username, flags)))
  passwd
    .command('remove')
    .description('remove a user')
    .argument('<username>')
    .requiredOption('--file <path>', 'the users file')
    .action((username: string, flags: { file: string }) => print(removeUser(username, flags)))
  passwd
    .command('list')
    .description('print the names, one per line')
    .requiredOption('--file <path>', 'the users file')
    .action((flags: { file: string }) => {
      const names = listUsers(flags)
      if (names !== '') print(names)
    })

  program
    .command('acl')
    .description('the ACL file (access.aclFile)')
    .command('check')
    .description('say what the rules decide for a client and a topic, and which one does; exit code 3: denied')
    .addArgument(new Argument('<action>').choices(['publish', 'subscribe']))
    .argument('<topic>', 'topic name to publish to, or topic filter to subscribe to')
    .addOption(new Option('-c, --config <file>', 'configuration that names the ACL file').env('SHOALMQ_CONFIG'))
    .option('--file <path>', 'the ACL file, in place of the one that the configuration names')
    .option('-u, --username <name>', 'as this user, logged in; anonymous without it')
    .option('-i, --client-id <id>', 'with this client ID', '')
    .option('--address <ip>', 'from this IP address', '127.0.0.1')
    .option('-q, --qos <level>', 'QoS of the message or subscription', wholeNumber(0, 2), 0)
    .option('-r, --retain', 'a retained message')
    .action((action: AclCheckAction, topic: string, flags: AclCheckFlags) => {
      const { text, code } = checkAcl(action, topic, flags, process.env)
      print(text)
      exitWith(code)
    })
}
