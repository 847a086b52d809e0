// Eight WebSocket sessions at once on one connection of HTTP/2, each with messages of random sizes that must come
// back as they were.

const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const http2 = require('node:http2')
const { Receiver, Sender } = require('ws')

const sizes = [0, 1, 125, 126, 65535, 65536]
const server = process.argv[2]
// The messages wait here, more than the 10 MB after which Node resets streams of its own accord.
const client = http2.connect(`http://${server}`, { maxSessionMemory: 200 })

const session = (number) => new Promise((resolve, reject) => {
  const messages = Array.from({ length: 40 }, () => {
    const choice = crypto.randomInt(sizes.length + 1)
    return crypto.randomBytes(sizes[choice] ?? crypto.randomInt(300_000))
  })
  let heard = 0
  const stream = client.request({
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':scheme': 'http',
    ':path': '/echo',
    ':authority': server,
    'sec-websocket-version': '13',
  })
  const sender = new Sender(stream)
  const receiver = new Receiver({ isServer: false })
  stream.on('error', reject)
  receiver.on('error', reject)
  stream.on('response', (headers) => {
    assert.equal(headers[':status'], 200)
    stream.pipe(receiver)
    for (const message of messages) {
      sender.send(message, { binary: true, mask: true, fin: true, compress: false })
    }
  })
  receiver.on('message', (data, isBinary) => {
    assert.equal(isBinary, true)
    assert.ok(data.equals(messages[heard]), `session ${number}, message ${heard}`)
    heard += 1
    if (heard === messages.length) sender.close(1000, '', true)
  })
  receiver.on('conclude', () => stream.end())
  stream.on('close', () => {
    assert.equal(heard, messages.length)
    resolve()
  })
})

setTimeout(() => { throw new Error('it takes too long') }, 30_000).unref()
client.on('error', (error) => { throw error })
client.on('remoteSettings', (settings) => {
  assert.equal(settings.enableConnectProtocol, true)
  Promise.all(Array.from({ length: 8 }, (_, number) => session(number))).then(() => process.exit(0))
})
