/**
 * Node A to node B against the same pair on one node: throughput, processor time per message on each node, and the
 * latency that the link adds. Node A shares core 0 with the generator, node B has core 1, as does the node alone.
 */

import { freePort, startNode, statusOf, until } from '../brokers.mjs'
import { compileGenerator, GENERATOR_CORE, load } from '../generator.mjs'
import { cpuSeconds, median } from './process-figures.mjs'

const OTHER_CORE = '1'
const PAIRS = '--publishers 50 --subscribers 50 --choice own'
const GROUP = '--publishers 10 --subscribers 10 --filter $share/g/bench/#'
const CASES = {
  '1 to 1, QoS 0': '',
  '50 pairs, QoS 0': PAIRS,
  '1 to 1, QoS 1': '--qos 1',
  '50 pairs, QoS 1': `${PAIRS} --qos 1`,
  '50 pairs, QoS 1, 1 KB': `${PAIRS} --qos 1 --payload 1024`,
  'shared group of 10, QoS 1': `${GROUP} --qos 1`,
  'shared group of 10, QoS 2': `${GROUP} --qos 2`,
  '50 pairs, QoS 0, 5,000/s': `${PAIRS} --rate 5000`,
  '50 pairs, QoS 1, 5,000/s': `${PAIRS} --qos 1 --rate 5000`,
}

export async function measureLink({ runs, seconds, cases, profiles }, print) {
  const options = { program: compileGenerator(), seconds, version: 4 }
  const [portA, portB] = [await freePort(), await freePort()]
  const one = await startNode({ name: 'one', cores: OTHER_CORE, clusterPort: await freePort() })
  const a = await startNode({ name: 'a', cores: GENERATOR_CORE, clusterPort: portA, seeds: [portB], profiles })
  const b = await startNode({ name: 'b', cores: OTHER_CORE, clusterPort: portB, seeds: [portA], profiles })
  const nodes = { one, a, b }
  try {
    await until(async () => {
      const status = await statusOf(a)
      return status.nodes.filter(({ state }) => state === 'running').length === 2
    }, 'two nodes are linked')
    print(`Medians of ${runs} runs of ${seconds} s, one node and two in turn.\n`)
    print(
      '| | one node | A to B | ratio | lost, repeated, disordered | processor: one node, A, B | p50, p99 one node | p50, p99 A to B |',
    )
    print('|---|--:|--:|--:|--:|--:|--:|--:|')
    for (const [what, parameters] of Object.entries(CASES)) {
      if (!what.includes(cases)) continue
      const alone = []
      const across = []
      for (let round = 0; round < runs; round += 1) {
        alone.push(await runOnce(options, parameters, ['--port', `${one.port}`], { one }))
        const ports = ['--publish-port', `${a.port}`, '--subscribe-port', `${b.port}`]
        across.push(await runOnce(options, parameters, ports, { a, b }))
      }
      const rate = (list) => `${Math.round(median(list.map(({ result }) => result.delivered_s)) / 1_000)} k/s`
      const ratio = median(across.map(({ result }, round) => result.delivered_s / alone[round].result.delivered_s))
      const cpu = (list, name) => median(list.map(({ cpu: each }) => each[name])).toFixed(2)
      const late = (list) =>
        ['p50_us', 'p99_us']
          .map((field) => (median(list.map(({ result }) => result[field])) / 1_000).toFixed(2))
          .join(', ')
      const faults = ['lost', 'duplicates', 'disordered'].map((field) =>
        Math.max(...across.map(({ result }) => result[field])),
      )
      const cells = [
        ...[rate(alone), rate(across), ratio.toFixed(2), faults.join(', ')],
        `${[cpu(alone, 'one'), cpu(across, 'a'), cpu(across, 'b')].join(', ')} µs`,
        ...[`${late(alone)} ms`, `${late(across)} ms`],
      ]
      print(`| ${[what, ...cells].join(' | ')} |`)
    }
  } finally {
    for (const node of Object.values(nodes)) await node.stop()
  }
}

/** One run, and the processor time of each node per message that was delivered, connecting and warm-up included. */
async function runOnce(options, parameters, where, nodes) {
  const used = Object.entries(nodes).map(([name, { pid }]) => [name, cpuSeconds(pid)])
  const result = await load(options, parameters, where)
  const messages = result.delivered_s * (options.seconds + 1)
  const cpu = Object.fromEntries(
    used.map(([name, before]) => [name, ((cpuSeconds(nodes[name].pid) - before) / messages) * 1e6]),
  )
  return { result, cpu }
}
