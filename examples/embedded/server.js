// An Aedes application on ShoalMQ: the import is the one line that changed.

import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import { Aedes } from 'shoalmq' // was: import { Aedes } from 'aedes'
import { createWebSocketStream, WebSocketServer } from 'ws'

const port = Number(process.env.PORT ?? 1883)
const webSocketPort = Number(process.env.WS_PORT ?? 8888)

const broker = await Aedes.createBroker({ id: 'example', drainTimeout: 30_000 })

broker.authenticate = (_client, username, _password, done) => {
  done(null, username !== 'mallory')
}

broker.authorizePublish = (client, packet, done) => {
  if (packet.topic.startsWith('private/')) return done(new Error(`${client.id} may not publish there`))
  packet.payload = Buffer.from(`${packet.payload}!`)
  done(null)
}

broker.authorizeSubscribe = (_client, subscription, done) => {
  done(null, subscription.topic.startsWith('private/') ? null : subscription)
}

broker.on('clientReady', (client) => console.log(`${client.id} is here, speaking MQTT ${client.version}`))
broker.on('clientDisconnect', (client) => console.log(`${client.id} is gone`))
broker.on('clientError', (client, error) => console.log(`${client.id}: ${error.message}`))

broker.subscribe('greetings/#', (packet, done) => {
  console.log(`${packet.topic}: ${packet.payload}`)
  done()
})

const server = createServer(broker.handle)
const httpServer = createHttpServer()
const webSockets = new WebSocketServer({ server: httpServer })
webSockets.on('connection', (socket, request) => broker.handle(createWebSocketStream(socket), request))

server.listen(port, '127.0.0.1', () => {
  httpServer.listen(webSocketPort, '127.0.0.1', () => {
    console.log(`listening on ${server.address().port} and, for WebSocket, on ${httpServer.address().port}`)
  })
})

// Nothing else has to be stopped: the process ends when its broker and its servers are closed.
process.once('SIGTERM', () => {
  broker.close(() => {
    server.close()
    httpServer.close()
    webSockets.close()
  })
})
