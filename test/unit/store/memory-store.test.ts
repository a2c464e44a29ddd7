import { describeStore } from '../../contract/store.js'
import { type MemoryDisk, MemoryStore } from '../../support/memory-store.js'

describeStore('memory', () => {
  const disk: MemoryDisk = new Map()
  return {
    open: async () => {
      const store = new MemoryStore(disk)
      return { store, load: () => store.load(), stop: () => store.stop() }
    },
  }
})
