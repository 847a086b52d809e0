// A WebSocket service that sends back what it gets, and prints its port.

const { WebSocketServer } = require('ws')

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 }, () => console.log(server.address().port))
server.on('connection', (session) => {
  session.on('message', (data, isBinary) => session.send(data, { binary: isBinary }))
})
