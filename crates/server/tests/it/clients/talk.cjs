// Eight WebSocket sessions at once, each with messages of random sizes that must come back as they were.

const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const WebSocket = require('ws')

const sizes = [0, 1, 125, 126, 65535, 65536]

const session = (number) => new Promise((resolve, reject) => {
  const messages = Array.from({ length: 40 }, () => {
    const choice = crypto.randomInt(sizes.length + 1)
    return crypto.randomBytes(sizes[choice] ?? crypto.randomInt(300_000))
  })
  let heard = 0
  const talk = new WebSocket(`ws://${process.argv[2]}/echo`)
  talk.on('error', reject)
  talk.on('open', () => messages.forEach((message) => talk.send(message)))
  talk.on('message', (data, isBinary) => {
    assert.equal(isBinary, true)
    assert.ok(data.equals(messages[heard]), `session ${number}, message ${heard}`)
    heard += 1
    if (heard === messages.length) talk.close()
  })
  talk.on('close', () => {
    assert.equal(heard, messages.length)
    resolve()
  })
})

setTimeout(() => { throw new Error('it takes too long') }, 30_000).unref()
Promise.all(Array.from({ length: 8 }, (_, number) => session(number))).then(() => process.exit(0))
