import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Page, SETTLED_MS, share, world } from './fakePages'
import { FakeServer, type FakeTab } from './fakes'
import type { Sharing } from './sharing'
import { closeCode } from './socket'

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)
const settle = () => pass(SETTLED_MS)

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 })
})
afterEach(() => {
  vi.useRealTimers()
})

describe('one socket', () => {
  test('three tabs share it, and all show its state and replica', async () => {
    const { server, pages, open } = world()
    for (const name of ['a', 'b', 'c']) await open(name)
    expect(server.wires).toHaveLength(1)
    for (const { state } of pages) expect(state).toEqual({ phase: 'live', replica: 'notifier-1' })
  })

  test('an order reaches every tab with the time it was received', async () => {
    const { server, pages, open } = world()
    for (const name of ['a', 'b', 'c']) await open(name)
    const before = Date.now()
    server.finish('x')
    await settle()
    const [first, ...others] = pages.map(({ pushed }) => pushed)
    expect(first).toEqual([{ id: 'x', receivedAt: expect.any(Number) }])
    expect(first?.[0]?.receivedAt).toBeLessThanOrEqual(before + 5)
    for (const pushed of others) expect(pushed).toEqual(first)
  })

  test('tabs of another user receive nothing from it, and have their own', async () => {
    const { browser, server, open } = world()
    await open('a')
    const theirs = new FakeServer()
    const bob = new Page('b', browser, theirs, { userId: 'bob' })
    await settle()
    server.finish('x')
    server.close(closeCode.replaced)
    await settle()
    expect(bob.pushed).toEqual([])
    expect(bob.state?.phase).toBe('live')
    expect([server.wires.length, theirs.wires.length]).toEqual([1, 1])
  })

  test('a tab that joins late shows the state immediately, and reads its orders again', async () => {
    const { server, open } = world()
    await open('a')
    server.finish('x')
    await settle()
    const late = await open('late')
    expect(late.state?.phase).toBe('live')
    expect(late.welcomes).toEqual([false])
    expect(late.rows.get('x')?.status).toBe('FINISHED')
    expect(late.toasts).toEqual([])
  })

  test('tabs that open together get one welcome each', async () => {
    const { browser, server } = world()
    const pages = ['a', 'b', 'c'].map((name) => new Page(name, browser, server))
    await settle()
    for (const { welcomes } of pages) expect(welcomes).toEqual([false])
  })

  test('a reconnection is gapless for all tabs', async () => {
    const { server, pages, open } = world()
    for (const name of ['a', 'b']) await open(name)
    server.close(1006)
    await settle()
    for (const { state } of pages) expect(state?.phase).toBe('reconnecting')
    expect(pages[1]?.state).toEqual(pages[0]?.state)
    server.finish('x')
    await pass(20_000)
    for (const { welcomes } of pages) expect(welcomes).toEqual([false, true])
  })
})

describe('the next leader', () => {
  test.each(['close', 'crash'] as const)(
    'continues at the position of a leader that ended by a %s',
    async (end) => {
      const { server, open, toasts } = world()
      const [a, b, c] = [await open('a'), await open('b'), await open('c')]
      server.finish('x')
      await settle()
      a[end]()
      await settle()
      expect(server.wires.map(({ query }) => query)).toEqual(['', '?e=e1&o=1'])
      expect([b.leads, c.leads]).toEqual([true, false])
      server.finish('y')
      await settle()
      for (const { pushed, welcomes } of [b, c]) {
        expect(pushed.map(({ id }) => id)).toEqual(['x', 'y'])
        expect(welcomes).toEqual([false, true])
      }
      expect(toasts()).toEqual(['x', 'y'])
    },
  )

  test('receives exactly the orders that the last leader did not pass on', async () => {
    const { server, open, toasts } = world()
    const [a, b, c] = [await open('a'), await open('b'), await open('c')]
    b.look()
    await settle()
    const all = Array.from({ length: 20 }, (_, i) => `order-${i}`)
    for (const id of all.slice(0, 10)) server.finish(id)
    await pass(2)
    for (const id of all.slice(10)) server.finish(id)
    // The second half is still on its way to the tab that crashes now.
    a.crash()
    await settle()
    for (const { pushed } of [b, c]) expect(pushed.map(({ id }) => id)).toEqual(all)
    expect(toasts().toSorted()).toEqual(all.toSorted())
    expect(b.toasts).toHaveLength(20)
  })

  test('notifies once per order, wherever in a burst the last leader crashed', async () => {
    for (let step = 0; step < 12; step++) {
      const { server, open, toasts } = world()
      const [a] = [await open('a'), await open('b'), await open('c')]
      a.look()
      await settle()
      for (const id of ['x', 'y', 'z']) server.finish(id)
      await pass(step)
      a.crash()
      await settle()
      expect(toasts().toSorted(), `after ${step} ms`).toEqual(['x', 'y', 'z'])
    }
  })

  test('does not reconnect if the last leader was closed permanently', async () => {
    const { server, open } = world()
    const [a, b] = [await open('a'), await open('b')]
    server.close(closeCode.replaced)
    await settle()
    a.close()
    await pass(60_000)
    expect(server.wires).toHaveLength(1)
    expect(b.state).toEqual({ phase: 'offline', why: 'replaced' })
    b.socket.connect()
    await settle()
    expect(b.state?.phase).toBe('live')
  })

  test('is not gapless if it had not been welcomed before', async () => {
    const { browser, server, open } = world()
    const a = await open('a')
    const b = new Page('b', browser, server)
    server.finish('x')
    await pass(0)
    // The leader has passed the order on, and has not replied to the new tab yet.
    a.crash()
    await settle()
    expect(server.wires.map(({ query }) => query)).toEqual(['', '?e=e1&o=1'])
    expect(b.welcomes).toEqual([false])
  })
})

describe('state and requests of all tabs', () => {
  test.each([
    [closeCode.replaced, 'replaced'],
    [closeCode.policy, 'refused'],
    [closeCode.badMessage, 'refused'],
  ])('close %d stops all tabs, and a later one too', async (code, why) => {
    const { server, pages, open } = world()
    for (const name of ['a', 'b']) await open(name)
    server.close(code)
    await settle()
    await open('late')
    for (const { state } of pages) expect(state).toEqual({ phase: 'offline', why })
    await pass(60_000)
    expect(server.wires).toHaveLength(1)
  })

  test('a follower can request a new connection', async () => {
    const { server, pages, open } = world()
    const [a, b] = [await open('a'), await open('b')]
    server.close(closeCode.replaced)
    await settle()
    b.socket.connect()
    expect(b.state?.phase).toBe('connecting')
    await settle()
    for (const { state } of pages) expect(state?.phase).toBe('live')
    expect([a.leads, b.leads]).toEqual([true, false])
  })

  test('a request while the socket is live does nothing', async () => {
    const { server, pages, open } = world()
    const b = (await open('a')) && (await open('b'))
    b.socket.connect()
    await settle()
    expect(server.wires).toHaveLength(1)
    for (const { state } of pages) expect(state?.phase).toBe('live')
  })

  test('a follower that is woken wakes the leader', async () => {
    const { server, open } = world()
    const b = (await open('a')) && (await open('b'))
    vi.setSystemTime(Date.now() + 3_600_000)
    b.socket.wake()
    await settle()
    expect(server.wires.map(({ query, closed }) => [query, closed])).toEqual([
      ['', true],
      ['?e=e1&o=0', false],
    ])
  })

  test('all tabs show a lost network', async () => {
    const { pages, open } = world()
    for (const name of ['a', 'b']) await open(name)
    for (const page of pages) {
      page.network = false
      page.socket.networkLost()
    }
    await settle()
    for (const { state } of pages) expect(state).toEqual({ phase: 'offline', why: 'no-network' })
    for (const page of pages) {
      page.network = true
      page.socket.wake()
    }
    await settle()
    for (const { state } of pages) expect(state?.phase).toBe('live')
  })
})

describe('one notification per change', () => {
  async function three() {
    const w = world()
    const [a, b, c] = [await w.open('a'), await w.open('b'), await w.open('c')]
    return { ...w, a, b, c }
  }

  test('comes from the visible tab that was focused last', async () => {
    const { server, a, b, c, toasts } = await three()
    c.look()
    await settle()
    b.look()
    await settle()
    server.finish('x')
    await settle()
    expect(b.toasts).toEqual(['x'])
    b.look({ visible: false })
    await settle()
    server.finish('y')
    await settle()
    expect(c.toasts).toEqual(['y'])
    expect(toasts()).toHaveLength(2)
    expect(a.leads).toBe(true)
  })

  test('comes from the tab that was focused last if none is visible', async () => {
    const { server, a, b, c } = await three()
    b.look()
    await settle()
    for (const page of [a, b, c]) page.look({ visible: false })
    await settle()
    server.finish('x')
    await settle()
    expect([a.toasts, b.toasts, c.toasts]).toEqual([[], ['x'], []])
  })

  test('does not come from a closed tab', async () => {
    const { server, b, c, toasts } = await three()
    c.look()
    await settle()
    b.look()
    await settle()
    b.crash()
    await settle()
    server.finish('x')
    await settle()
    expect(c.toasts).toEqual(['x'])
    expect(toasts()).toEqual(['x'])
  })

  test('comes from another tab if the chosen one crashes first', async () => {
    const { server, b, c, toasts } = await three()
    b.look()
    await settle()
    b.tab.freeze()
    server.finish('x')
    await settle()
    expect(toasts()).toEqual([])
    b.crash()
    await settle()
    expect(toasts()).toEqual(['x'])
    expect(c.pushed).toHaveLength(1)
  })

  test('comes from another tab if the leader crashes, too', async () => {
    const { server, a, b, c, toasts } = await three()
    b.look()
    await settle()
    b.tab.freeze()
    server.finish('x')
    await settle()
    a.crash()
    b.crash()
    await settle()
    expect(c.toasts).toEqual(['x'])
    expect(toasts()).toEqual(['x'])
  })

  test('is not repeated for a repeated message, even by other leaders and later tabs', async () => {
    const { server, a, b, c, open, toasts } = await three()
    server.finish('x')
    await settle()
    const late = await open('late')
    for (const page of [a, b, c]) {
      page.close()
      await settle()
      server.finish('x')
      await settle()
    }
    expect(late.leads).toBe(true)
    expect(toasts()).toEqual(['x'])
  })

  test('is not repeated by a tab that joins later', async () => {
    const { server, open, toasts } = world()
    const a = await open('a')
    server.finish('x')
    await settle()
    const late = await open('late')
    a.close()
    await settle()
    server.finish('x')
    await settle()
    expect(late.leads).toBe(true)
    expect(toasts()).toEqual(['x'])
  })

  test('comes from the chosen tab even if the next leader starts before it knows the choice', async () => {
    const { server, open, toasts } = world({ fastLocks: true })
    const [a, b, c] = [await open('a'), await open('b'), await open('c')]
    c.look()
    await settle()
    c.tab.freeze()
    server.finish('x')
    await pass(0)
    b.look()
    a.socket.stop()
    await settle()
    expect(b.leads).toBe(true)
    expect(b.pushed.map(({ id }) => id)).toEqual(['x'])
    c.tab.thaw()
    await settle()
    expect(toasts()).toEqual(['x'])
  })

  test('comes from a tab that joined after the choice if leader and chosen tab crash', async () => {
    const { server, open, toasts } = world()
    const [a, b] = [await open('a'), await open('b')]
    b.look()
    await settle()
    b.tab.freeze()
    server.finish('x')
    await settle()
    const c = await open('c')
    a.crash()
    b.crash()
    await settle()
    expect(c.toasts).toEqual(['x'])
    expect(toasts()).toEqual(['x'])
  })

  test('comes from a leader that does not know the others yet if the chosen tab crashed', async () => {
    const { browser, server, open } = world()
    const [a, b] = [await open('a'), await open('b')]
    b.look()
    await settle()
    b.tab.freeze()
    const c = new Page('c', browser, server)
    server.finish('x')
    await pass(0)
    a.crash()
    b.crash()
    await settle()
    expect(c.welcomes).toEqual([false])
    expect(c.toasts).toEqual(['x'])
  })

  test('is also shown for orders that were missed before the first load', async () => {
    const { server, open } = world()
    server.finish('x')
    expect((await open('a')).toasts).toEqual(['x'])
  })

  test('is not shown for acknowledged orders by a browser that opens later', async () => {
    const { server, open } = world()
    const a = await open('a')
    server.finish('x')
    await settle()
    a.close()
    expect((await open('b')).toasts).toEqual([])
  })

  test('is not shown for a NEW order', async () => {
    const { a, b, c, toasts } = await three()
    for (const { socket } of [a, b, c]) {
      socket.notify({ id: 'x', amount: 1, description: '', status: 'NEW', version: 1 })
    }
    await settle()
    expect(toasts()).toEqual([])
  })
})

describe('a change found by reading after a gap', () => {
  async function two() {
    const w = world()
    w.server.place('x')
    const [a, b] = [await w.open('a'), await w.open('b')]
    b.look()
    await settle()
    w.server.finish('x', { quietly: true })
    return { ...w, a, b }
  }

  test('is notified once, although every tab reads', async () => {
    const { server, b, pages, toasts } = await two()
    server.loseStream()
    await settle()
    for (const { welcomes } of pages) expect(welcomes.at(-1)).toBe(false)
    expect(b.toasts).toEqual(['x'])
    expect(toasts()).toEqual(['x'])
    server.finish('x')
    await settle()
    expect(toasts()).toEqual(['x'])
  })

  test('is notified even if the leader does not hold the row', async () => {
    const { server, a, b, toasts } = await two()
    a.rows.clear()
    server.loseStream()
    await settle()
    expect(b.toasts).toEqual(['x'])
    expect(toasts()).toEqual(['x'])
  })

  test('is notified even if the leader crashes before it learns of the change', async () => {
    const { a, b, toasts } = await two()
    a.tab.freeze()
    b.read()
    await settle()
    expect(toasts()).toEqual([])
    a.crash()
    await settle()
    expect(toasts()).toEqual(['x'])
  })
})

describe('a frozen leader', () => {
  async function frozen() {
    const w = world()
    const [a, b] = [await w.open('a'), await w.open('b')]
    a.look({ visible: false })
    await settle()
    a.tab.freeze()
    return { ...w, a, b }
  }

  test('loses the lead to a tab that is shown and gets no reply', async () => {
    const { server, a, b } = await frozen()
    server.finish('x')
    b.look()
    await pass(4_000)
    expect(b.leads).toBe(false)
    await pass(1_100)
    expect(b.leads).toBe(true)
    expect(b.toasts).toEqual(['x'])
    a.tab.thaw()
    await settle()
    expect([a.leads, b.leads]).toEqual([false, true])
    expect(server.connected).toHaveLength(1)
    expect(a.state?.phase).toBe('live')
    server.finish('y')
    await settle()
    expect(a.pushed.map(({ id }) => id)).toContain('y')
    expect(b.toasts).toEqual(['x', 'y'])
  })

  test('loses the lead after a minute to a tab that was visible all the time', async () => {
    const { b } = await frozen()
    await pass(66_000)
    expect(b.leads).toBe(true)
  })

  test('keeps the lead while no tab is visible', async () => {
    const { b } = await frozen()
    b.look({ visible: false })
    await pass(600_000)
    expect(b.leads).toBe(false)
  })

  test('does not include a running leader on a quiet connection', async () => {
    const { server, open } = world()
    const [a, b] = [await open('a'), await open('b')]
    for (let i = 0; i < 40; i++) {
      await pass(25_000)
      server.ping()
    }
    expect([a.leads, b.leads]).toEqual([true, false])
    expect(server.wires).toHaveLength(1)
  })

  test('shows the state of the new leader when thawed, and reads again', async () => {
    const { a, b } = await frozen()
    await pass(66_000)
    b.network = false
    b.socket.networkLost()
    a.tab.thaw()
    await settle()
    expect(a.state).toEqual({ phase: 'offline', why: 'no-network' })
    b.network = true
    b.socket.wake()
    await settle()
    expect(a.welcomes).toEqual([false, false])
  })

  test('can lead again when thawed and the other leader stops', async () => {
    const { a, b } = await frozen()
    await pass(66_000)
    a.tab.thaw()
    await settle()
    b.socket.stop()
    await settle()
    expect(a.leads).toBe(true)
  })

  test('is replaced by a leader that then learns of all tabs', async () => {
    const { a, b, open, server } = await frozen()
    a.crash()
    await settle()
    const c = await open('c')
    c.look()
    await settle()
    for (const { tab } of [b, c]) tab.freeze()
    const d = await open('d')
    await pass(6_000)
    expect(d.leads).toBe(true)
    c.tab.thaw()
    await settle()
    server.finish('x')
    await settle()
    expect(c.toasts).toEqual(['x'])
  })

  test('makes a tab without a reply work alone if locks cannot be stolen', async () => {
    const { open, server } = await frozen()
    const c = await open('c', {
      sharing: (tab, id) => ({
        ...share(tab, id),
        locks: {
          request: (name, options, granted) =>
            'steal' in options
              ? Promise.reject(new DOMException('no', 'NotSupportedError'))
              : tab.locks.request(name, options, granted),
        },
      }),
    })
    const b = await open('b2')
    b.look()
    b.tab.freeze()
    await pass(6_000)
    expect(c.leads).toBe(true)
    server.finish('x')
    await settle()
    expect(c.toasts).toEqual(['x'])
  })

  test('loses the lead even if it was frozen before it was granted the lead', async () => {
    const { a, b, open } = await frozen()
    const c = await open('c')
    b.tab.freeze()
    a.crash()
    c.look()
    await pass(6_000)
    expect(c.leads).toBe(true)
  })
})

describe('started and stopped', () => {
  test('an immediate restart, as by StrictMode, leaves one socket', async () => {
    const { browser, server } = world()
    const page = new Page('a', browser, server)
    page.socket.stop()
    page.socket.start()
    await settle()
    expect(server.connected).toHaveLength(1)
    expect(page.state?.phase).toBe('live')
    page.socket.stop()
    page.socket.start()
    page.socket.start()
    await settle()
    expect(server.connected).toHaveLength(1)
    expect(page.welcomes).toEqual([false, false])
  })

  test('a stopped follower does not become leader later', async () => {
    const { server, open } = world()
    const [a, b, c] = [await open('a'), await open('b'), await open('c')]
    b.socket.stop()
    a.close()
    await settle()
    expect([b.leads, c.leads]).toEqual([false, true])
    expect(server.connected).toHaveLength(1)
  })

  test('a leader that stops sends its pending acknowledgement and passes the lead on', async () => {
    const { server, open } = world()
    const [a, b] = [await open('a'), await open('b')]
    server.finish('x')
    server.finish('y')
    await pass(3)
    a.socket.stop()
    await settle()
    expect(server.wires[0]?.sent).toContainEqual({ type: 'ack', o: 2 })
    expect(b.leads).toBe(true)
    expect(b.state?.phase).toBe('live')
  })

  test('a restarted page follows, and reads its orders again', async () => {
    const { server, open, toasts } = world()
    const [a, b] = [await open('a'), await open('b')]
    a.socket.stop()
    server.finish('x')
    await settle()
    a.socket.start()
    await settle()
    expect([a.leads, b.leads]).toEqual([false, true])
    expect(a.welcomes).toEqual([false, false])
    expect(a.rows.get('x')?.status).toBe('FINISHED')
    expect(toasts()).toEqual(['x'])
  })

  test('a restarted page does not repeat notifications of tabs that are closed now', async () => {
    const { server, open, toasts } = world()
    const [a, b] = [await open('a'), await open('b')]
    a.socket.stop()
    server.finish('x')
    await pass(2_000)
    b.close()
    a.socket.start()
    await settle()
    expect(a.leads).toBe(true)
    expect(toasts()).toEqual(['x'])
  })

  test('a restarted leader does not repeat a notification that it had assigned to another tab', async () => {
    const { server, open, toasts } = world()
    const [a, b] = [await open('a'), await open('b')]
    b.look()
    await settle()
    b.tab.freeze()
    server.finish('x')
    await settle()
    a.socket.stop()
    b.tab.thaw()
    await settle()
    b.close()
    a.socket.start()
    await settle()
    expect(a.leads).toBe(true)
    expect(toasts()).toEqual(['x'])
  })

  test('a stopped follower does not steal the lead of a frozen leader', async () => {
    const { open } = world()
    const [a, b] = [await open('a'), await open('b')]
    b.socket.stop()
    a.tab.freeze()
    await pass(100_000)
    expect(b.leads).toBe(false)
  })

  test('a restarted page shows that it is connecting', async () => {
    const { open } = world()
    const a = await open('a')
    a.socket.stop()
    a.socket.start()
    expect(a.state).toEqual({ phase: 'connecting' })
  })

  test('a leader whose tab lock is stolen keeps one socket', async () => {
    const { browser, server, open } = world()
    await open('a')
    void browser.tab().locks.request('gozon.tab.1/ann/a', { steal: true }, () => {})
    await settle()
    expect(server.wires).toHaveLength(1)
  })

  test('a stopped page ignores all calls', async () => {
    const { server, open, toasts } = world()
    const { socket } = await open('a')
    socket.stop()
    socket.connect()
    socket.wake()
    socket.networkLost()
    socket.pageLooked()
    socket.notify({ id: 'x', amount: 1, description: '', status: 'FINISHED', version: 2 })
    await pass(60_000)
    expect(server.connected).toEqual([])
    expect(vi.getTimerCount()).toBe(0)
    socket.start()
    await settle()
    expect(toasts()).toEqual([])
  })
})

describe('where tabs cannot share', () => {
  const refuse = () => Promise.reject(new DOMException('no', 'SecurityError'))
  const broken = {
    'neither locks nor channels': () => null,
    'no channel': (tab: FakeTab, id: string): Sharing => ({
      ...share(tab, id),
      channel: () => {
        throw new DOMException('no', 'SecurityError')
      },
    }),
    'no lock': (tab: FakeTab, id: string): Sharing => ({
      ...share(tab, id),
      locks: { request: refuse },
    }),
    'no lead lock': (tab: FakeTab, id: string): Sharing => ({
      ...share(tab, id),
      locks: {
        request: (name, ...rest) =>
          name.startsWith('gozon.push') ? refuse() : tab.locks.request(name, ...rest),
      },
    }),
  }

  test.each(Object.entries(broken))(
    '%s: each tab has a socket and notifies',
    async (_, sharing) => {
      const { server, open } = world()
      const [a, b] = [await open('a', { sharing }), await open('b', { sharing })]
      server.finish('x')
      await settle()
      expect(server.connected).toHaveLength(2)
      for (const { state, pushed, toasts } of [a, b]) {
        expect(state?.phase).toBe('live')
        expect(pushed).toHaveLength(1)
        expect(toasts).toEqual(['x'])
      }
      for (const { socket } of [a, b]) socket.stop()
      expect(server.connected).toEqual([])
    },
  )
})

describe('invalid messages on the channel', () => {
  const state = { phase: 'offline', why: 'stopped' }
  const standing = { type: 'standing', state, position: null, tabs: [], told: [], due: [] }

  test.each([
    null,
    'live',
    [[]],
    { type: 'later' },
    { type: 'toString' },
    { type: 'standing', state: { phase: 'live' } },
    { ...standing, state: null },
    { ...standing, tabs: [null] },
    { ...standing, told: [['x']] },
    { ...standing, due: [{ order: {}, teller: null }] },
    { type: 'order', order: { id: 'x' }, receivedAt: 1, position: null, teller: 'b' },
    { type: 'welcome', gapless: false },
    { type: 'here', tab: { id: 'ghost' } },
    { type: 'tell', order: {}, teller: 'b' },
    { type: 'told', id: 'x', version: '2' },
  ])('%j is ignored', async (word) => {
    const { browser, server, open } = world()
    const [a, b] = [await open('a'), await open('b')]
    const before = [a, b].map(({ states, welcomes }) => [states.length, welcomes.length])
    browser.tab().channel('gozon.push.1/ann').postMessage(word)
    await settle()
    expect([a, b].map(({ states, welcomes }) => [states.length, welcomes.length])).toEqual(before)
    server.finish('x')
    await settle()
    expect([...a.toasts, ...b.toasts]).toEqual(['x'])
  })

  test('pages of another version share nothing with this one', async () => {
    const { browser, server, open } = world()
    const older = browser.tab()
    const heard: unknown[] = []
    const channel = older.channel('gozon.push.0/ann')
    channel.onmessage = ({ data }) => heard.push(data)
    void older.locks.request('gozon.push.0/ann', { steal: true }, () => new Promise(() => {}))
    await open('a')
    expect(server.connected).toHaveLength(1)
    expect(heard).toEqual([])
  })
})
