// A client of Node: many requests at once, and a stream that goes on only when its last piece was read.

import assert from 'node:assert/strict'
import http from 'node:http'

const base = `http://${process.argv[2]}`
const signal = AbortSignal.timeout(20_000)

const fetched = Array.from({ length: 50 }, async (_, number) => {
  const answer = await fetch(`${base}/parallel/fetch-${number}`, { signal })
  assert.equal(answer.status, 200)
  assert.equal(await answer.text(), `/parallel/fetch-${number}`)
})

const agent = new http.Agent({ keepAlive: true, maxSockets: 5 })
const requested = Array.from({ length: 50 }, (_, number) => new Promise((resolve, reject) => {
  const request = http.get(`${base}/parallel/http-${number}`, { agent, signal }, async (answer) => {
    let body = ''
    for await (const piece of answer.setEncoding('utf8')) body += piece
    assert.equal(body, answer.headers['x-path'])
    assert.equal(body, `/parallel/http-${number}`)
    resolve()
  })
  request.on('error', reject)
}))
await Promise.all([...fetched, ...requested])
agent.destroy()

const stream = await fetch(`${base}/stream`, { signal })
const reader = stream.body.getReader()
for (let number = 0; number < 10; number++) {
  const { value, done } = await reader.read()
  assert.equal(done, false)
  assert.equal(new TextDecoder().decode(value), String(number))
  const next = number < 9 ? number + 1 : 'end'
  assert.equal((await fetch(`${base}/next/${next}`, { signal })).status, 204)
}
assert.equal((await reader.read()).done, true)
process.exit(0)
