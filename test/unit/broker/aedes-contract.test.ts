import { Aedes } from 'aedes'
import { createBroker } from '../../../src/index.js'
import { describeAedes } from '../../contract/aedes.js'

// Aedes first: what it does not pass is no part of the contract.
describeAedes('Aedes', (options) => Aedes.createBroker(options))
describeAedes('Broker', createBroker)
