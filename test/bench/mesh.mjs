#!/usr/bin/env node
/**
 * What the mesh costs: a million routes, messages from node to node, clients that move or whose node is killed, and
 * sixteen nodes. Real processes on this machine.
 *
 *   npm run bench:mesh -- [--only routes,link,takeover,recovery,nodes] [--routes 1000000] [--nodes 16] [--kill 5] [--runs 3] [--seconds 5] [--cases 'QoS 1'] [--profiles DIRECTORY] [--write]
 *
 * --write puts each table into its place in docs/benchmarks.md.
 * --cases chooses among those of `link`, by a part of their names; --profiles leaves a CPU profile of each of its nodes.
 * Figures on a busy machine: processor time per message says more than messages per second.
 */

import { parseArgs } from 'node:util'
import { build } from '../support/scripts/build.mjs'
import { runScript, ScriptError } from '../support/scripts/run-command.mjs'
import { circumstances, fillIn } from './document.mjs'
import { measureLink } from './mesh/link.mjs'
import { measureNodes } from './mesh/nodes.mjs'
import { measureRecovery } from './mesh/recovery.mjs'
import { measureRoutes } from './mesh/routes.mjs'
import { measureTakeover } from './mesh/takeover.mjs'

const PARTS = {
  routes: measureRoutes,
  link: measureLink,
  takeover: measureTakeover,
  recovery: measureRecovery,
  nodes: measureNodes,
}

async function main() {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: Object.keys(PARTS).join(',') },
      routes: { type: 'string', default: '1000000' },
      nodes: { type: 'string', default: '16' },
      kill: { type: 'string', default: '5' },
      runs: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '5' },
      cases: { type: 'string', default: '' },
      profiles: { type: 'string', default: '' },
      write: { type: 'boolean', default: false },
    },
  })
  const chosen = values.only.split(',')
  for (const name of chosen) if (!(name in PARTS)) throw new ScriptError(`There is no part ${name}.`)
  await build()
  const options = {
    routes: Number(values.routes),
    nodes: Number(values.nodes),
    kill: Number(values.kill),
    runs: Number(values.runs),
    seconds: Number(values.seconds),
    cases: values.cases,
    profiles: values.profiles,
  }
  for (const name of chosen) {
    const lines = []
    const print = (line) => {
      lines.push(line)
      console.log(line)
    }
    console.log('')
    print(`${circumstances()}.`)
    await PARTS[name](options, print)
    if (values.write) fillIn(name, lines.join('\n'))
  }
  return 0
}

await runScript(main)
