/**
 * A planted fault, loaded into a node before it starts: at SIGUSR2 its copy of the routes of every other node loses one
 * and has another in its place, which nobody has told; and it says so.
 */

/** The node's own module, whether it runs from the build or from the sources. */
const isBuild = !process.argv[1].endsWith('.ts')
const module = isBuild ? '../../dist/router/route-table.js' : '../../src/router/route-table.ts'
/** @type {typeof import('../../src/router/route-table.js')} */
const { RouteTable } = await import(module)

/** What is in the place of the route that is lost. */
const INVENTED = 'invented/+'

/** Every node sets who sweeps its one table. */
const { setSweeper } = RouteTable.prototype
let table

RouteTable.prototype.setSweeper = function setSweeperAndRemember(onEnded) {
  table = this
  setSweeper.call(this, onEnded)
}

process.on('SIGUSR2', () => {
  for (const node of [...table.nodes()]) {
    const [filter] = table.filters(node)
    table.remove(node, filter)
    table.add(node, INVENTED)
    console.log(`corrupted: ${filter} of ${node}`)
  }
})
