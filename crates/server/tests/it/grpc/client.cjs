// gRPC's interop cases by the implementation for Node: `client.cjs ADDRESS [ROOTS]`.
//
// Prints the name of each case that holds. Whatever is wrong fails an assertion.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const { once } = require('node:events')
const { Client, Metadata, credentials, status } = require('@grpc/grpc-js')

const [address, roots] = process.argv.slice(2)
const INITIAL = 'x-grpc-test-echo-initial'
const TRAILING = 'x-grpc-test-echo-trailing-bin'
const GZIP = 2

// Messages by the numbers of their fields: `write({2: 7, 3: write({2: body})})`. An array repeats its field.
function write (fields) {
  const varint = (number) => {
    const bytes = []
    for (; number > 0x7f; number >>>= 7) bytes.push((number & 0x7f) | 0x80)
    return Buffer.from([...bytes, number])
  }
  const one = (number, value) => {
    if (typeof value === 'number') return [varint(number << 3), varint(value)]
    const bytes = Buffer.from(value)
    return [varint((number << 3) | 2), varint(bytes.length), bytes]
  }
  const parts = Object.entries(fields).flatMap(([number, value]) => [value].flat().flatMap((each) => one(number, each)))
  return Buffer.concat(parts)
}

// The values of each field, by its number.
function read (bytes) {
  const fields = {}
  let at = 0
  const varint = () => {
    let number = 0
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++]
      number += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return number
    }
  }
  while (at < bytes.length) {
    const key = varint()
    let value = varint()
    if ((key & 7) === 2) value = bytes.subarray(at, at += value)
    ;(fields[key >> 3] ??= []).push(value)
  }
  return fields
}

const payload = (size) => write({ 2: Buffer.alloc(size) })
const size = (answer) => read(read(answer)[1]?.[0] ?? Buffer.alloc(0))[2]?.[0].length ?? 0
const wishes = (...sizes) => ({ 2: sizes.map((wish) => write({ 1: wish })) })

function open (more = {}) {
  const trust = roots ? credentials.createSsl(fs.readFileSync(roots)) : credentials.createInsecure()
  return new Client(address, trust, { 'grpc.enable_http_proxy': 0, 'grpc.use_local_subchannel_pool': 1, ...more })
}

const client = open()
const same = (bytes) => bytes
const within = (seconds = 20) => ({ deadline: Date.now() + seconds * 1000 })

function metadata (entries = {}) {
  const all = new Metadata()
  for (const [name, value] of Object.entries(entries)) all.set(name, value)
  return all
}

// An answer with its metadata; an error has `code`, `details` and `metadata`.
function unary (method, request, { entries, seconds, on = client, service = 'grpc.testing.TestService' } = {}) {
  return new Promise((resolve, reject) => {
    let initial
    let answer
    const call = on.makeUnaryRequest(`/${service}/${method}`, same, same, request, metadata(entries), within(seconds), (error, said) => {
      if (error) reject(error)
      answer = said
    })
    call.on('metadata', (said) => { initial = said })
    call.on('status', (said) => { if (said.code === status.OK) resolve({ answer, initial, trailing: said.metadata }) })
  })
}

const told = async (method, name = '') => (await unary(method, Buffer.from(name), { service: 'intertie.Told' })).answer.toString()
// Whether the service has the call: before, there is nothing that it could hear of.
const there = async (name) => await told('Left', name).then(() => true, () => false)
const duplex = (entries, seconds) => client.makeBidiStreamRequest('/grpc.testing.TestService/FullDuplexCall', same, same, metadata(entries), within(seconds))

// The rest of a stream, and how it ended. Its failure is its status.
async function rest (call) {
  const [answers, said] = [[], {}]
  call.on('error', () => {})
  call.on('metadata', (initial) => { said.initial = initial })
  call.on('data', (answer) => answers.push(answer))
  const ended = await new Promise((resolve) => call.on('status', resolve))
  return { answers, ...said, ...ended }
}

async function fails (code, call) {
  const error = await call.then(() => assert.fail(`no failure with ${code}`), (error) => error)
  assert.equal(error.code, code, error.details ?? error)
  return error
}

async function large (options) {
  const { answer } = await unary('UnaryCall', write({ 2: 314159, 3: payload(271828) }), options)
  assert.equal(size(answer), 314159)
}

async function pieces (on, sizes) {
  const answer = await new Promise((resolve, reject) => {
    const call = on.makeClientStreamRequest('/grpc.testing.TestService/StreamingInputCall', same, same, metadata(), within(), (error, said) => error ? reject(error) : resolve(said))
    for (const each of sizes) call.write(write({ 1: payload(each) }))
    call.end()
  })
  assert.equal(read(answer)[1][0], sizes.reduce((sum, each) => sum + each))
}

async function outputs (sizes, entries, compressed = []) {
  const wished = sizes.map((wish, at) => write({ 1: wish, ...(at in compressed && { 3: write({ 1: compressed[at] }) }) }))
  const call = client.makeServerStreamRequest('/grpc.testing.TestService/StreamingOutputCall', same, same, write({ 2: wished }), metadata(entries), within())
  const { answers, code } = await rest(call)
  assert.equal(code, status.OK)
  assert.deepEqual(answers.map(size), sizes)
}

async function compressing (body) {
  const other = open({ 'grpc.default_compression_algorithm': GZIP })
  await body(other)
  other.close()
}

const STATUS = 'test status message'
const SPECIAL = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n'

async function echoed (message) {
  const wish = { 7: write({ 1: status.UNKNOWN, 2: message }) }
  const error = await fails(status.UNKNOWN, unary('UnaryCall', write(wish)))
  assert.equal(error.details, message)
  const call = duplex()
  call.write(write(wish))
  call.end()
  const ended = await rest(call)
  assert.deepEqual([ended.code, ended.details], [status.UNKNOWN, message])
}

const cases = {
  async empty_unary () {
    assert.equal((await unary('EmptyCall', Buffer.alloc(0))).answer.length, 0)
  },
  large_unary: () => large(),
  client_streaming: () => pieces(client, [27182, 8, 1828, 45904]),
  server_streaming: () => outputs([31415, 9, 2653, 58979]),
  async ping_pong () {
    const call = duplex()
    for (const [wish, body] of [[31415, 27182], [9, 8], [2653, 1828], [58979, 45904]]) {
      call.write(write({ ...wishes(wish), 3: payload(body) }))
      assert.equal(size((await once(call, 'data'))[0]), wish)
    }
    call.end()
    const { answers, code } = await rest(call)
    assert.deepEqual([answers.length, code], [0, status.OK])
  },
  async empty_stream () {
    const call = duplex()
    call.end()
    const { answers, code } = await rest(call)
    assert.deepEqual([answers.length, code], [0, status.OK])
  },
  async cancel_after_begin () {
    const name = `begin-${process.hrtime.bigint()}`
    const done = new Promise((resolve) => {
      const call = client.makeClientStreamRequest('/grpc.testing.TestService/StreamingInputCall', same, same, metadata({ 'x-call': name }), within(), resolve)
      const cancel = async () => { while (!await there(name)); call.cancel() }
      cancel()
    })
    assert.equal((await done).code, status.CANCELLED)
  },
  async cancel_after_first_response () {
    const call = duplex()
    call.write(write({ ...wishes(31415), 3: payload(27182) }))
    assert.equal(size((await once(call, 'data'))[0]), 31415)
    call.cancel()
    assert.equal((await rest(call)).code, status.CANCELLED)
  },
  async timeout_on_sleeping_server () {
    const call = duplex({}, 0.001)
    call.write(write({ 3: payload(27182) }))
    assert.equal((await rest(call)).code, status.DEADLINE_EXCEEDED)
  },
  async custom_metadata () {
    const entries = { [INITIAL]: 'test_initial_metadata_value', [TRAILING]: Buffer.from('ababab', 'hex') }
    const one = await unary('UnaryCall', write({ 2: 314159, 3: payload(271828) }), { entries })
    const call = duplex(entries)
    call.write(write({ ...wishes(314159), 3: payload(271828) }))
    call.end()
    const both = await rest(call)
    for (const [initial, trailing] of [[one.initial, one.trailing], [both.initial, both.metadata]]) {
      assert.deepEqual(initial.get(INITIAL), [entries[INITIAL]])
      assert.deepEqual(trailing.get(TRAILING), [entries[TRAILING]])
    }
  },
  status_code_and_message: () => echoed(STATUS),
  special_status_message: () => echoed(SPECIAL),
  unimplemented_method: () => fails(status.UNIMPLEMENTED, unary('UnimplementedCall', Buffer.alloc(0))),
  unimplemented_service: () => fails(status.UNIMPLEMENTED, unary('UnimplementedCall', Buffer.alloc(0), { service: 'grpc.testing.UnimplementedService' })),
  client_compressed_unary: () => compressing((other) => large({ on: other })),
  async server_compressed_unary () {
    for (const wish of [1, 0]) {
      const { answer } = await unary('UnaryCall', write({ 2: 314159, 6: write({ 1: wish }) }))
      assert.equal(size(answer), 314159)
    }
  },
  client_compressed_streaming: () => compressing((other) => pieces(other, [27182, 45904])),
  server_compressed_streaming: () => outputs([31415, 92653], { 'x-compress': 'gzip' }, [1, 0]),
  async rpc_soak () {
    for (let number = 0; number < 50; number++) await large()
  },
  async channel_soak () {
    for (let number = 0; number < 10; number++) {
      const other = open()
      await large({ on: other })
      other.close()
    }
  },
  // Of calls whose requests have ended: Node ends those of a stream that it cancels.
  async cancel_is_heard () {
    const name = `hang-${process.hrtime.bigint()}`
    const done = new Promise((resolve) => {
      const call = client.makeUnaryRequest('/intertie.Told/Hang', same, same, Buffer.alloc(0), metadata({ 'x-call': name }), within(), resolve)
      const cancel = async () => { while (!await there(name)); call.cancel() }
      cancel()
    })
    assert.equal((await done).code, status.CANCELLED)
    assert.equal(await told('Ended', name), 'cancelled', `the service never hears that ${name} was given up`)
  },
  async refusals_are_statuses () {
    const refused = async (code, service, words = '', request = Buffer.alloc(0)) => {
      const error = await fails(code, unary('Hang', request, { service: `intertie.${service}` }))
      assert.ok(error.details.includes(words), error.details)
      return error.metadata
    }
    await refused(status.DEADLINE_EXCEEDED, 'Late', 'the deadline of the call is over')
    await refused(status.RESOURCE_EXHAUSTED, 'Large', 'body_max', Buffer.alloc(2000))
    await refused(status.UNIMPLEMENTED, 'Elsewhere', 'no route')
    // The first call of all passes the limit, and the service does not know the method.
    await unary('Hang', Buffer.alloc(0), { service: 'intertie.Limited' }).catch(() => {})
    const [wait] = (await refused(status.RESOURCE_EXHAUSTED, 'Limited', 'rate_limiter')).get('grpc-retry-pushback-ms')
    assert.ok(wait > 0 && wait <= 3_600_000, wait)
    for (const _ of [1, 2]) await refused(status.UNAVAILABLE, 'Broken')
    await refused(status.UNAVAILABLE, 'Broken', 'circuit_breaker')
    // All of them were answers on a connection that goes on.
    await large()
  }
}

async function main () {
  for (const [name, holds] of Object.entries(cases)) {
    await holds()
    console.log(name)
  }
  client.close()
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
