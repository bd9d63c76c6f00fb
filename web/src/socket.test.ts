import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import unknownFrame from '../../tests/contracts/unknown_frame.json?raw'
import { FakeWire } from './fakes'
import type { Order } from './orders'
import { type ConnectionState, closeCode, type Position, PushSocket, type Wire } from './socket'

const pushed = (o: number, version = 2) => ({
  type: 'order',
  o,
  id: `event-${o}`,
  order: { id: `order-${o}`, status: 'FINISHED', amount: 1, description: '', version },
})

const welcome = (more: object = {}) => ({
  type: 'welcome',
  epoch: 'e1',
  offset: 10,
  recovered: true,
  missed: [],
  replica: 'notifier-1',
  ...more,
})

interface Setting {
  random?: number
  position?: Position
}

function setUp({ random = 0.5, position }: Setting = {}) {
  const wires: FakeWire[] = []
  const states: ConnectionState[] = []
  const orders: Order[] = []
  const given: { receivedAt: number; position: Position | null }[] = []
  const welcomes: boolean[] = []
  const network = { online: true }
  let tickets = 0
  const ticket = vi.fn(async () => `t${++tickets}`)
  const socket = new PushSocket({
    ticket,
    open: (query, protocols) => {
      const wire = new FakeWire(query, protocols)
      wires.push(wire)
      return wire as unknown as Wire
    },
    clock: {
      now: () => Date.now(),
      setTimeout: (run, ms) => setTimeout(run, ms) as unknown as number,
      clearTimeout: (handle) => clearTimeout(handle),
    },
    random: () => random,
    online: () => network.online,
    position: position ?? null,
    onState: (state) => states.push(state),
    onOrder: (order, receivedAt) => {
      orders.push(order)
      given.push({ receivedAt, position: socket.position })
    },
    onWelcome: (recovered) => welcomes.push(recovered),
  })
  const wire = () => {
    const last = wires.at(-1)
    if (!last) throw new Error('nothing was opened')
    return last
  }
  const state = () => states.at(-1)
  return { socket, network, ticket, wires, wire, states, orders, given, welcomes, state }
}

async function live(options?: Setting, first: object = {}) {
  const world = setUp(options)
  world.socket.connect()
  await vi.advanceTimersByTimeAsync(0)
  world.wire().receive(welcome(first))
  return world
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)
const acks = (wire: FakeWire) => wire.sent.filter((frame) => JSON.stringify(frame).includes('ack'))

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 })
})
afterEach(() => {
  vi.useRealTimers()
})

describe('connecting', () => {
  test('a fresh page offers its ticket and names no position', async () => {
    const { wire } = await live()
    expect(wire().query).toBe('')
    expect(wire().protocols).toEqual(['gozon.v1', 'ticket.t1'])
  })

  test('the welcome makes it live and names the replica', async () => {
    const { states } = await live()
    expect(states).toEqual([{ phase: 'connecting' }, { phase: 'live', replica: 'notifier-1' }])
  })

  test('the first welcome is not gapless, because earlier changes are unknown', async () => {
    const { welcomes, wire } = await live()
    expect(welcomes).toEqual([false])
    wire().onclose?.({ code: 1006, reason: '' })
    await pass(2_000)
    wire().receive(welcome())
    expect(welcomes).toEqual([false, true])
  })

  test('missed messages are delivered before the welcome is reported', async () => {
    const { orders, welcomes } = await live(
      {},
      { recovered: false, missed: [pushed(9), pushed(10)] },
    )
    expect(orders.map(({ id }) => id)).toEqual(['order-9', 'order-10'])
    expect(welcomes).toEqual([false])
  })

  test('a failed ticket request is repeated', async () => {
    const { socket, ticket, wires, state } = setUp()
    ticket.mockRejectedValueOnce(new Error('503'))
    socket.connect()
    await pass(0)
    expect(state()?.phase).toBe('reconnecting')
    await pass(2_000)
    expect(wires).toHaveLength(1)
  })

  test('stopping during the ticket request opens no socket', async () => {
    const { socket, wires, state } = setUp()
    socket.connect()
    socket.stop()
    await pass(60_000)
    expect(wires).toHaveLength(0)
    expect(state()).toEqual({ phase: 'offline', why: 'stopped' })
  })

  test('connecting twice opens one socket', async () => {
    const { socket, wires } = setUp()
    socket.connect()
    socket.connect()
    await pass(0)
    expect(wires).toHaveLength(1)
  })
})

describe('resuming', () => {
  test('a reconnection sends epoch and last offset, with a new ticket', async () => {
    const { wire } = await live()
    wire().receive(pushed(17))
    wire().end(1006)
    await pass(20_000)
    expect(wire().query).toBe('?e=e1&o=17')
    expect(wire().protocols).toEqual(['gozon.v1', 'ticket.t2'])
  })

  test('a repeated lower offset does not move the position back', async () => {
    const { wire } = await live()
    wire().receive(pushed(17))
    wire().receive(pushed(16))
    wire().end(1006)
    await pass(20_000)
    expect(wire().query).toBe('?e=e1&o=17')
  })

  test('a new epoch starts with its own offset', async () => {
    const { wire } = await live()
    wire().receive(pushed(17))
    wire().receive(welcome({ epoch: 'e2', offset: 3, recovered: false }))
    wire().end(1006)
    await pass(20_000)
    expect(wire().query).toBe('?e=e2&o=3')
  })
})

describe('continuing at a given position', () => {
  const position = { epoch: 'e1', offset: 8 }

  test('the first connection sends the position, and its welcome can be gapless', async () => {
    const { wire, welcomes } = await live({ position }, { missed: [pushed(9), pushed(10)] })
    expect(wire().query).toBe('?e=e1&o=8')
    expect(welcomes).toEqual([true])
  })

  test('the position moves with each live message, and after all missed messages', async () => {
    const { socket, wire, given } = await live({ position }, { missed: [pushed(9), pushed(10)] })
    expect(given.map(({ position }) => position?.offset)).toEqual([8, 8])
    expect(socket.position).toEqual({ epoch: 'e1', offset: 10 })
    wire().receive(pushed(11))
    expect(given.at(-1)?.position).toEqual({ epoch: 'e1', offset: 11 })
  })

  test('the given position object is not changed', async () => {
    const { wire } = await live({ position })
    wire().receive(pushed(11))
    expect(position).toEqual({ epoch: 'e1', offset: 8 })
  })
})

test('an order is delivered with its time of receipt', async () => {
  const { wire, given } = await live()
  wire().receive(pushed(11))
  expect(given.map(({ receivedAt }) => receivedAt)).toEqual([Date.now()])
})

describe('a second welcome on an open socket', () => {
  const again = welcome({ epoch: 'e2', offset: 3, recovered: false, missed: [pushed(3)] })

  test('delivers the missed messages, is not gapless and stays live', async () => {
    const { wire, wires, orders, welcomes, state } = await live()
    wire().end(1006)
    await pass(2_000)
    wire().receive(welcome())
    wire().receive(again)
    await pass(20_000)
    expect(orders.map(({ id }) => id)).toEqual(['order-3'])
    expect(welcomes).toEqual([false, true, false])
    expect(state()).toEqual({ phase: 'live', replica: 'notifier-1' })
    expect(wires).toHaveLength(2)
  })

  test('sets the epoch of a pending acknowledgement', async () => {
    const { wire } = await live()
    wire().receive(pushed(11))
    await pass(0)
    wire().receive(pushed(12))
    wire().receive(again)
    await pass(1_000)
    expect(acks(wire())).toEqual([
      { type: 'ack', o: 11 },
      { type: 'ack', o: 3 },
    ])
  })

  test('sets the offset from which later messages count', async () => {
    const { wire } = await live()
    wire().receive(again)
    wire().receive(pushed(4))
    wire().end(1006)
    await pass(2_000)
    expect(wire().query).toBe('?e=e2&o=4')
  })

  test('does not restart the time that makes a connection stable', async () => {
    const { wire, state } = await live({ random: 1 })
    wire().end(1006)
    await pass(2_000)
    wire().receive(welcome())
    await pass(10_000)
    wire().receive(again)
    wire().end(1006)
    expect(state()).toEqual({ phase: 'reconnecting', at: Date.now() + 2_000 })
  })
})

describe('acknowledging', () => {
  test('a burst is acknowledged once, by its last offset', async () => {
    const { wire } = await live()
    for (const o of [11, 12, 13]) wire().receive(pushed(o))
    await pass(0)
    expect(acks(wire())).toEqual([{ type: 'ack', o: 13 }])
  })

  test('at most one acknowledgement is sent per second', async () => {
    const { wire } = await live()
    for (let o = 11; o < 61; o++) {
      wire().receive(pushed(o))
      await pass(100)
    }
    await pass(1_000)
    expect(acks(wire()).length).toBeLessThanOrEqual(7)
    expect(acks(wire()).at(-1)).toEqual({ type: 'ack', o: 60 })
  })

  test('missed messages are acknowledged by the offset of the welcome', async () => {
    const { wire } = await live({}, { missed: [pushed(10)] })
    await pass(0)
    expect(acks(wire())).toEqual([{ type: 'ack', o: 10 }])
  })

  test('a welcome without missed messages is not acknowledged', async () => {
    const { wire } = await live()
    await pass(5_000)
    expect(acks(wire())).toEqual([])
  })

  test('stopping sends a pending acknowledgement', async () => {
    const { socket, wire } = await live()
    wire().receive(pushed(11))
    socket.stop()
    expect(acks(wire())).toEqual([{ type: 'ack', o: 11 }])
    expect(wire().closed).toBe(true)
  })
})

describe('renewing the identity', () => {
  const renewals = (wire: FakeWire) =>
    wire.sent.filter((frame) => JSON.stringify(frame).includes('renew'))
  const renewal = (ticket: string) => ({ type: 'renew', ticket })

  test('a renewal request is answered with a new ticket on the same connection', async () => {
    const { wire, wires } = await live()
    wire().receive({ type: 'renew', within: 60 })
    await pass(0)
    expect(wire().sent).toEqual([renewal('t2')])
    expect(wires).toHaveLength(1)
  })

  test('a second request during a renewal is ignored', async () => {
    const { wire, ticket } = await live()
    ticket.mockRejectedValueOnce(new Error('503'))
    wire().receive({ type: 'renew', within: 60 })
    wire().receive({ type: 'renew', within: 60 })
    await pass(100)
    wire().receive({ type: 'renew', within: 60 })
    await pass(20_000)
    expect(renewals(wire())).toEqual([renewal('t2')])
    expect(ticket).toHaveBeenCalledTimes(3)
  })

  test('a later request starts another renewal', async () => {
    const { wire } = await live()
    wire().receive({ type: 'renew', within: 60 })
    await pass(1_000)
    wire().receive({ type: 'renew', within: 60 })
    await pass(0)
    expect(renewals(wire())).toEqual([renewal('t2'), renewal('t3')])
  })

  test('a failed ticket request is repeated with growing pauses until the deadline', async () => {
    const { wire, wires, ticket } = await live({ random: 1 })
    const start = Date.now()
    const asked: number[] = []
    ticket.mockImplementation(async () => {
      asked.push(Date.now() - start)
      throw new Error('503')
    })
    wire().receive({ type: 'renew', within: 60 })
    for (let i = 0; i < 12; i++) {
      await pass(10_000)
      wire().receive({ type: 'ping' })
    }
    expect(asked).toEqual([0, 2_000, 6_000, 14_000, 30_000, 50_000])
    expect(renewals(wire())).toEqual([])
    expect(wires).toHaveLength(1)
  })

  test('after a renewal failed until the deadline, another request starts a new one', async () => {
    const { wire, ticket } = await live()
    ticket.mockRejectedValueOnce(new Error('503'))
    wire().receive({ type: 'renew', within: 1 })
    await pass(5_000)
    expect(renewals(wire())).toEqual([])
    wire().receive({ type: 'renew', within: 60 })
    await pass(0)
    expect(renewals(wire())).toEqual([renewal('t2')])
  })

  test('a ticket that arrives after its connection was closed is not sent on another', async () => {
    const { wire, wires, ticket } = await live()
    let issue = (_: string) => {}
    ticket.mockImplementationOnce(() => new Promise((resolve) => (issue = resolve)))
    wire().receive({ type: 'renew', within: 60 })
    wire().end(closeCode.restarting)
    await pass(2_000)
    wire().receive(welcome())
    issue('late')
    await pass(0)
    expect(wires.flatMap(renewals)).toEqual([])
    wire().receive({ type: 'renew', within: 60 })
    await pass(0)
    expect(renewals(wire())).toEqual([renewal('t3')])
  })

  test('a close during the pause ends the renewal', async () => {
    const { wire, wires, ticket } = await live()
    ticket.mockRejectedValueOnce(new Error('503'))
    wire().receive({ type: 'renew', within: 60 })
    await pass(0)
    wire().end(closeCode.expired)
    await pass(20_000)
    expect(wires).toHaveLength(2)
    expect(ticket).toHaveBeenCalledTimes(3)
  })

  test('the watchdog restarts after a renewal, as the ping interval of the server does', async () => {
    const { wire, wires, ticket } = await live({ random: 1 })
    for (let i = 0; i < 4; i++) ticket.mockRejectedValueOnce(new Error('503'))
    wire().receive({ type: 'renew', within: 60 })
    await pass(30_000 + 25_000)
    expect(renewals(wire())).toHaveLength(1)
    expect(wires).toHaveLength(1)
    expect(wire().closed).toBe(false)
  })
})

describe('staying alive', () => {
  test('a ping is answered by a pong', async () => {
    const { wire } = await live()
    wire().receive({ type: 'ping' })
    expect(wire().sent).toEqual([{ type: 'pong' }])
  })

  test('unknown and malformed frames are ignored', async () => {
    const { socket, wire, states, orders } = await live()
    const before = socket.position
    wire().onmessage?.({ data: '{' })
    wire().onmessage?.({ data: unknownFrame })
    wire().receive(null)
    expect(wire().sent).toEqual([])
    expect(states).toHaveLength(2)
    expect(socket.position).toEqual(before)
    wire().receive(pushed(11))
    expect(orders).toHaveLength(1)
  })

  test('40 s of silence end the connection, and its late close event is ignored', async () => {
    const { wire, wires, state } = await live()
    const silent = wire()
    await pass(39_999)
    expect(state()?.phase).toBe('live')
    await pass(1)
    expect(silent.closed).toBe(true)
    expect(state()?.phase).toBe('reconnecting')
    await pass(20_000)
    silent.end(1006)
    await pass(20_000)
    expect(wires).toHaveLength(2)
  })

  test('pings keep the connection open', async () => {
    const { wire, wires, state } = await live()
    for (let i = 0; i < 10; i++) {
      await pass(25_000)
      wire().receive({ type: 'ping' })
    }
    expect(wires).toHaveLength(1)
    expect(state()?.phase).toBe('live')
  })

  test('silence before the welcome also ends the connection', async () => {
    const { socket, wire, state } = setUp()
    socket.connect()
    await pass(40_000)
    expect(wire().closed).toBe(true)
    expect(state()?.phase).toBe('reconnecting')
  })
})

describe('reconnecting', () => {
  const delay = (state?: ConnectionState) =>
    state?.phase === 'reconnecting' ? state.at - Date.now() : Number.NaN

  test.each([
    [0, 500],
    [1, 2_000],
  ])('with random value %d the first delay is %d ms', async (random, expected) => {
    const { wire, state } = await live({ random })
    wire().end(1006)
    expect(delay(state())).toBe(expected)
  })

  test('failures raise the delay limit up to 20 s', async () => {
    const { socket, wire, state } = setUp({ random: 1 })
    socket.connect()
    await pass(0)
    const delays = []
    for (let i = 0; i < 6; i++) {
      wire().end(1006)
      delays.push(delay(state()))
      await pass(delays.at(-1) ?? 0)
    }
    expect(delays).toEqual([2_000, 4_000, 8_000, 16_000, 20_000, 20_000])
  })

  test('a stable connection resets the backoff, and a brief one does not', async () => {
    const { wire, state } = await live({ random: 1 })
    wire().end(1006)
    await pass(2_000)
    wire().receive(welcome())
    wire().end(1006)
    expect(delay(state())).toBe(4_000)
    await pass(4_000)
    wire().receive(welcome())
    await pass(10_000)
    wire().end(1006)
    expect(delay(state())).toBe(2_000)
  })

  test.each([
    ['{"retry_after_ms":7300}', 7_300],
    ['{"retry_after_ms":0}', 500],
    ['{"retry_after_ms":9999999}', 60_000],
    ['{"retry_after_ms":"soon"}', 2_000],
    ['null', 2_000],
    ['restarting', 2_000],
  ])('on 1012 the reason %s means %d ms', async (reason, expected) => {
    const { wire, state } = await live({ random: 1 })
    wire().end(closeCode.restarting, reason)
    expect(delay(state())).toBe(expected)
  })

  test.each([
    ...[1000, 1001, 1006, 1011, closeCode.restarting, closeCode.tryAgain, closeCode.badTicket],
    ...[closeCode.noPong, closeCode.expired, closeCode.tooSlow],
  ])('after close %d it reconnects soon, with a new ticket and its position', async (code) => {
    const { wire, wires, ticket } = await live({ random: 1 })
    wire().end(code)
    await pass(2_000)
    expect(wires).toHaveLength(2)
    expect(ticket).toHaveBeenCalledTimes(2)
    expect(wire().query).toBe('?e=e1&o=10')
  })

  test.each([
    [0, 5_500],
    [1, 7_000],
  ])(
    'after too many messages, with random value %d, it reconnects in %d ms',
    async (random, expected) => {
      const { wire, wires, state } = await live({ random })
      wire().end(closeCode.tooManyMessages, 'too many messages')
      expect(delay(state())).toBe(expected)
      await pass(expected)
      expect(wires).toHaveLength(2)
    },
  )

  test.each([
    [closeCode.replaced, 'replaced'],
    [closeCode.policy, 'refused'],
    [closeCode.badMessage, 'refused'],
  ])('after close %d it reconnects only on request', async (code, why) => {
    const { socket, wire, wires, state } = await live()
    wire().end(code, '{"retry_after_ms":1000}')
    await pass(600_000)
    expect(wires).toHaveLength(1)
    expect(state()).toEqual({ phase: 'offline', why })
    socket.connect()
    await pass(0)
    expect(wires).toHaveLength(2)
  })

  test('a connect request ends the wait', async () => {
    const { socket, wire, wires } = await live()
    wire().end(1006)
    socket.connect()
    await pass(0)
    expect(wires).toHaveLength(2)
    await pass(20_000)
    expect(wires).toHaveLength(2)
  })
})

describe('a wake-up', () => {
  test('ends a wait', async () => {
    const { socket, wire, wires } = await live()
    wire().end(1006)
    socket.wake()
    await pass(0)
    expect(wires).toHaveLength(2)
  })

  test('replaces a connection that has missed a ping', async () => {
    const { socket, wire, wires } = await live()
    const silent = wire()
    vi.setSystemTime(Date.now() + 30_000)
    socket.wake()
    await pass(0)
    expect(silent.closed).toBe(true)
    expect(wire().query).toBe('?e=e1&o=10')
    expect(wires).toHaveLength(2)
  })

  test('keeps a connection that received a frame recently', async () => {
    const { socket, wire, wires } = await live()
    await pass(25_000)
    wire().receive({ type: 'ping' })
    vi.setSystemTime(Date.now() + 29_999)
    socket.wake()
    await pass(0)
    expect(wires).toHaveLength(1)
    expect(wire().closed).toBe(false)
  })

  test('from several tabs simultaneously connects once', async () => {
    const { socket, wires } = await live()
    vi.setSystemTime(Date.now() + 60_000)
    for (let i = 0; i < 3; i++) socket.wake()
    await pass(0)
    for (let i = 0; i < 3; i++) socket.wake()
    await pass(0)
    expect(wires).toHaveLength(2)
  })

  test.each([closeCode.replaced, closeCode.policy])(
    'does not reconnect after close %d',
    async (code) => {
      const { socket, wire, wires } = await live()
      wire().end(code)
      socket.wake()
      await pass(60_000)
      expect(wires).toHaveLength(1)
    },
  )

  test('does not start a stopped socket', async () => {
    const { socket, wires } = await live()
    socket.stop()
    socket.wake()
    await pass(60_000)
    expect(wires).toHaveLength(1)
  })
})

describe('without a network', () => {
  const noNetwork = { phase: 'offline', why: 'no-network' }

  test('it reports that immediately and does not retry', async () => {
    const { socket, network, wire, wires, state } = await live()
    network.online = false
    socket.networkLost()
    expect(state()).toEqual(noNetwork)
    expect(wire().closed).toBe(true)
    socket.wake()
    await pass(600_000)
    expect(wires).toHaveLength(1)
  })

  test('it reconnects at its position when the network is back', async () => {
    const { socket, network, wire } = await live()
    network.online = false
    socket.networkLost()
    network.online = true
    socket.wake()
    await pass(0)
    expect(wire().query).toBe('?e=e1&o=10')
  })

  test('the first attempt ignores what the browser reports about the network', async () => {
    const { socket, network, wire, state } = setUp()
    network.online = false
    socket.connect()
    await pass(0)
    wire().receive(welcome())
    expect(state()?.phase).toBe('live')
    wire().end(1006)
    expect(state()).toEqual(noNetwork)
  })

  test('a connect request makes an attempt', async () => {
    const { socket, network, wires } = await live()
    network.online = false
    socket.networkLost()
    socket.connect()
    await pass(0)
    expect(wires).toHaveLength(2)
  })

  test('a lost network changes nothing for a stopped socket', async () => {
    const { socket, state } = await live()
    socket.networkLost()
    expect(state()?.phase).toBe('live')
  })

  test('a lost network does not change another reason to be offline', async () => {
    const { socket, network, wire, state } = await live()
    wire().end(closeCode.replaced)
    network.online = false
    socket.networkLost()
    expect(state()).toEqual({ phase: 'offline', why: 'replaced' })
  })
})
