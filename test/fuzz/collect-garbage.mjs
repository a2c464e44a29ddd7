/**
 * Loaded into the node under test (`node --import`): on SIGUSR2 it collects all garbage, so that what its metrics say
 * of the heap is what is still in use.
 */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')
process.on('SIGUSR2', () => collect())
