#!/usr/bin/env node
/** The command line: which commands there are, their help and their exit codes. */

import { Command, CommanderError } from 'commander'
import { ConfigError } from '../config/load.js'
import { VERSION } from '../version.js'
import { addAccessCommands } from './access-commands.js'
import { addAdminCommands, adminOption } from './admin-commands.js'
import { CliError, EXIT_CODES, type ExitCode } from './cli-error.js'
import { type ClusterStatusOptions, clusterStatus } from './cluster-status.js'
import { checkConfig, showConfig } from './config-commands.js'
import { addConfigFlags, loadFromFlags, type ParsedFlags } from './config-flags.js'
import { addMqttFlags, seconds, topicFlag, wholeNumber } from './mqtt-flags.js'
import type { PubFlags } from './pub.js'
import type { SubFlags } from './sub.js'

const EXIT_CODES_HELP = `
Exit codes: 0 success; 1 failure, with one line on standard error; 2 wrong command line; 3 acl check: denied; 27 sub -W: the time is up.

Examples:
  shoalmq start --name n1@127.0.0.1 --listen mqtt://127.0.0.1:1883 --seeds 127.0.0.1:5371
  shoalmq cluster status
  shoalmq sub -t 'hello/#' -v
  shoalmq pub -t hello/world -m 'hi'`

/** How a command ends. */
interface Outcome {
  code: ExitCode | number
}

function buildProgram(outcome: Outcome): Command {
  const program = new Command('shoalmq')
    .description('A masterless, clustered MQTT broker.')
    .version(VERSION, '--version', 'print the version')
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'shoalmq: ')) })
    .addHelpText('after', EXIT_CODES_HELP)

  addConfigFlags(program.command('start').description('run a node until SIGTERM or Ctrl-C')).action(
    async (flags: ParsedFlags) => {
      const config = loadFromFlags(flags, process.env)
      // Loaded here only, so that the small commands start without the broker.
      const { runNode } = await import('../main.js')
      outcome.code = await runNode(config)
    },
  )

  const cluster = program.command('cluster').description('the cluster as a running node sees it')
  cluster
    .command('status')
    .description('list running and stopped nodes')
    .addOption(adminOption())
    .option('--json', 'print JSON')
    .action(async (flags: ClusterStatusOptions) => print(await clusterStatus(flags)))

  addAdminCommands(program, cluster, {
    print,
    exitWith: (code) => {
      outcome.code = code
    },
  })

  const config = program.command('config').description('the configuration, without starting a node')
  addConfigFlags(
    config.command('check').description('say whether it can be used, or all that is wrong with it'),
  ).action((flags: ParsedFlags) => print(checkConfig(flags, process.env)))
  addConfigFlags(config.command('show').description('print what a node would run with')).action((flags: ParsedFlags) =>
    print(showConfig(flags, process.env)),
  )

  addAccessCommands(program, {
    print,
    exitWith: (code) => {
      outcome.code = code
    },
  })

  addMqttFlags(program.command('pub').description('publish messages'))
    .addOption(topicFlag('topic name to publish to'))
    .option('-m, --message <text>', 'the payload')
    .option('-n, --null-message', 'an empty payload')
    .option('-l, --stdin-line', 'one message per line of standard input')
    .option('-s, --stdin-file', 'all of standard input as one message')
    .option('-f, --file <path>', 'a file as the payload')
    .option('-r, --retain', 'as a retained message')
    .option('--repeat <count>', 'publish it so many times', wholeNumber(1, 1_000_000_000), 1)
    .option('--repeat-delay <seconds>', 'wait between repeats', seconds, 0)
    .action(async (flags: PubFlags) => {
      const { publishCommand } = await import('./pub.js')
      await quietly(flags, outcome, async () => {
        await publishCommand(flags)
        return EXIT_CODES.ok
      })
    })

  addMqttFlags(program.command('sub').description('subscribe and print messages'))
    .addOption(topicFlag('topic filter to subscribe to (repeatable)').argParser(collect))
    .option('-v, --verbose', 'print the topic before the payload')
    .option('-C, --count <count>', 'end after so many messages', wholeNumber(1, 1_000_000_000))
    .option('-W, --timeout <seconds>', 'end after so many seconds', wholeNumber(1, 1_000_000))
    .option('-T, --filter-out <filter>', 'do not print messages of these topics (repeatable)', collect)
    .option('-R, --no-stale-retained', 'do not print messages that were retained before')
    .option('--retained-only', 'print only messages that were retained before')
    .option('-N, --no-eol', 'no end of line after each message')
    .option('-E, --subscribe-only', 'end once subscribed')
    .action(async (flags: SubFlags) => {
      const { subscribeCommand } = await import('./sub.js')
      await quietly(flags, outcome, () => subscribeCommand(flags))
    })

  program
    .command('version')
    .description('print the version')
    .action(() => print(VERSION))
  return program
}

function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value]
}

/** With `--quiet` a failure is an exit code only. */
async function quietly(flags: { quiet?: true }, outcome: Outcome, command: () => Promise<ExitCode>): Promise<void> {
  try {
    outcome.code = await command()
  } catch (error) {
    if (flags.quiet !== true || !(error instanceof CliError) || error.exitCode === EXIT_CODES.usage) throw error
    outcome.code = error.exitCode
  }
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

/** The exit code for what ended a command, after saying it. */
function reportFailure(error: unknown): number {
  // Commander has said its own already; help and version end by throwing too.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_CODES.ok : EXIT_CODES.usage
  const exitCode = error instanceof CliError ? error.exitCode : EXIT_CODES.failure
  if (error instanceof CliError || error instanceof ConfigError) process.stderr.write(`shoalmq: ${error.message}\n`)
  else process.stderr.write(`shoalmq: ${error instanceof Error ? error.stack : String(error)}\n`)
  return exitCode
}

/** Runs one command line; the arguments are those after `shoalmq`. */
async function run(commandLine: readonly string[]): Promise<number> {
  const outcome: Outcome = { code: EXIT_CODES.ok }
  try {
    await buildProgram(outcome).parseAsync([...commandLine], { from: 'user' })
    return outcome.code
  } catch (error) {
    return reportFailure(error)
  }
}

const exitCode = await run(process.argv.slice(2))
// A node that was forced to end, or met an error that nobody caught, may still have things open.
if (process.argv[2] === 'start') process.exit(exitCode)
process.exitCode = exitCode
