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
  test('three tabs have one, and all show its state and its replica', async () => {
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

  test('tabs of another user hear nothing of it, and have their own', async () => {
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

  test('a tab that joins late shows the state at once, and reads its orders once more', async () => {
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

  test('tabs that open together read twice at most: for themselves, and with the first welcome', async () => {
    const { browser, server } = world()
    const pages = ['a', 'b', 'c'].map((name) => new Page(name, browser, server))
    await settle()
    for (const { welcomes } of pages) expect(welcomes).toEqual([false])
  })

  test('a connection that breaks is gapless for all of them', async () => {
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
    'goes on from the position of one that was ended by a %s',
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

  test('brings what the last one did not live to pass on, and only that', async () => {
    const { server, open, toasts } = world()
    const [a, b, c] = [await open('a'), await open('b'), await open('c')]
    b.look()
    await settle()
    const all = Array.from({ length: 20 }, (_, i) => `order-${i}`)
    for (const id of all.slice(0, 10)) server.finish(id)
    await pass(2)
    for (const id of all.slice(10)) server.finish(id)
    // The second half is on its way to the tab that ends now.
    a.crash()
    await settle()
    for (const { pushed } of [b, c]) expect(pushed.map(({ id }) => id)).toEqual(all)
    expect(toasts().toSorted()).toEqual(all.toSorted())
    expect(b.toasts).toHaveLength(20)
  })

  test('with one that ends after every few steps of a burst, each is told once', async () => {
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

  test('stays away if the last one was told to', async () => {
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

  test('one that was not welcomed before cannot be sure to have heard all', async () => {
    const { browser, server, open } = world()
    const a = await open('a')
    const b = new Page('b', browser, server)
    server.finish('x')
    await pass(0)
    // It has passed on the order, and not yet answered the new tab.
    a.crash()
    await settle()
    expect(server.wires.map(({ query }) => query)).toEqual(['', '?e=e1&o=1'])
    expect(b.welcomes).toEqual([false])
  })
})

describe('what is seen and asked everywhere', () => {
  test.each([
    [closeCode.replaced, 'replaced'],
    [closeCode.policy, 'refused'],
    [closeCode.badMessage, 'refused'],
  ])('close %d sends all tabs away, also one that comes later', async (code, why) => {
    const { server, pages, open } = world()
    for (const name of ['a', 'b']) await open(name)
    server.close(code)
    await settle()
    await open('late')
    for (const { state } of pages) expect(state).toEqual({ phase: 'offline', why })
    await pass(60_000)
    expect(server.wires).toHaveLength(1)
  })

  test('a follower asks for another connection', async () => {
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

  test('asked while it is live, nothing happens', async () => {
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

  test('no network is seen by all', async () => {
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

describe('told once', () => {
  async function three() {
    const w = world()
    const [a, b, c] = [await w.open('a'), await w.open('b'), await w.open('c')]
    return { ...w, a, b, c }
  }

  test('by the tab that was focused last among those in sight', async () => {
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

  test('with none in sight by the one focused last', async () => {
    const { server, a, b, c } = await three()
    b.look()
    await settle()
    for (const page of [a, b, c]) page.look({ visible: false })
    await settle()
    server.finish('x')
    await settle()
    expect([a.toasts, b.toasts, c.toasts]).toEqual([[], ['x'], []])
  })

  test('not by a tab that is gone', async () => {
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

  test('by another if the chosen one goes before it could', async () => {
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

  test('by another also if the leader goes with it', async () => {
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

  test('a message that the server repeats is not told again, whoever leads and whoever came since', async () => {
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

  test('what the leader told before another tab came is not told by that one', async () => {
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

  test('by the tab that the last leader chose, though the next one leads before it hears of that', async () => {
    const { server, open, toasts } = world({ hasty: true })
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

  test('by another also if it came after the choice, and neither who chose nor who was chosen is left', async () => {
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

  test('a tab that leads before it knows the others tells for one that is gone', async () => {
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

  test('what was missed before the first load is told', async () => {
    const { server, open } = world()
    server.finish('x')
    expect((await open('a')).toasts).toEqual(['x'])
  })

  test('what was told and acknowledged is not told by a browser that opens later', async () => {
    const { server, open } = world()
    const a = await open('a')
    server.finish('x')
    await settle()
    a.close()
    expect((await open('b')).toasts).toEqual([])
  })

  test('a new order is no news', async () => {
    const { a, b, c, toasts } = await three()
    for (const { socket } of [a, b, c]) {
      socket.tell({ id: 'x', amount: 1, description: '', status: 'NEW', version: 1 })
    }
    await settle()
    expect(toasts()).toEqual([])
  })
})

describe('found by reading after a gap', () => {
  async function two() {
    const w = world()
    w.server.place('x')
    const [a, b] = [await w.open('a'), await w.open('b')]
    b.look()
    await settle()
    w.server.finish('x', { quietly: true })
    return { ...w, a, b }
  }

  test('it is told once, though every tab reads', async () => {
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

  test('it is told also when the leader has not held the row', async () => {
    const { server, a, b, toasts } = await two()
    a.rows.clear()
    server.loseStream()
    await settle()
    expect(b.toasts).toEqual(['x'])
    expect(toasts()).toEqual(['x'])
  })

  test('it is told also when the leader goes before it hears of it', async () => {
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

describe('a leader that does not run', () => {
  async function frozen() {
    const w = world()
    const [a, b] = [await w.open('a'), await w.open('b')]
    a.look({ visible: false })
    await settle()
    a.tab.freeze()
    return { ...w, a, b }
  }

  test('loses the lead to a tab that is shown and gets no answer', async () => {
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

  test('loses it also to one that was in sight all the time, after a minute', async () => {
    const { b } = await frozen()
    await pass(66_000)
    expect(b.leads).toBe(true)
  })

  test('keeps it while nobody looks', async () => {
    const { b } = await frozen()
    b.look({ visible: false })
    await pass(600_000)
    expect(b.leads).toBe(false)
  })

  test('one that runs is never robbed, however quiet it is', async () => {
    const { server, open } = world()
    const [a, b] = [await open('a'), await open('b')]
    for (let i = 0; i < 40; i++) {
      await pass(25_000)
      server.ping()
    }
    expect([a.leads, b.leads]).toEqual([true, false])
    expect(server.wires).toHaveLength(1)
  })

  test('thawed, it shows what the other shows, and reads once more', async () => {
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

  test('thawed, it may lead again when the other stops', async () => {
    const { a, b } = await frozen()
    await pass(66_000)
    a.tab.thaw()
    await settle()
    b.socket.stop()
    await settle()
    expect(a.leads).toBe(true)
  })

  test('a leader that knows nobody learns who is there', async () => {
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

  test('where locks cannot be stolen, who gets no answer keeps to itself', async () => {
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

  test('a frozen tab that comes to lead is robbed, too', async () => {
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
  test('stop and start at once, as StrictMode does, leaves one socket', async () => {
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

  test('a wait that was stopped does not lead later', async () => {
    const { server, open } = world()
    const [a, b, c] = [await open('a'), await open('b'), await open('c')]
    b.socket.stop()
    a.close()
    await settle()
    expect([b.leads, c.leads]).toEqual([false, true])
    expect(server.connected).toHaveLength(1)
  })

  test('a leader that stops hands over what waits to be acknowledged and the lead', async () => {
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

  test('on the way back to a page that was kept it follows, and reads once more', async () => {
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

  test('what others were told meanwhile is not told by it when they are gone', async () => {
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

  test('what it had to leave to another that told it is not told by it later', async () => {
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

  test('a follower that stopped takes no lead, whoever does not answer', async () => {
    const { open } = world()
    const [a, b] = [await open('a'), await open('b')]
    b.socket.stop()
    a.tab.freeze()
    await pass(100_000)
    expect(b.leads).toBe(false)
  })

  test('started again, it says that it connects', async () => {
    const { open } = world()
    const a = await open('a')
    a.socket.stop()
    a.socket.start()
    expect(a.state).toEqual({ phase: 'connecting' })
  })

  test('a leader whose own lock is stolen has one socket all the same', async () => {
    const { browser, server, open } = world()
    await open('a')
    void browser.tab().locks.request('gozon.tab.1/ann/a', { steal: true }, () => {})
    await settle()
    expect(server.wires).toHaveLength(1)
  })

  test('stopped, it does nothing of what it is asked', async () => {
    const { server, open, toasts } = world()
    const { socket } = await open('a')
    socket.stop()
    socket.connect()
    socket.wake()
    socket.networkLost()
    socket.looked()
    socket.tell({ id: 'x', amount: 1, description: '', status: 'FINISHED', version: 2 })
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
    'no channel to be had': (tab: FakeTab, id: string): Sharing => ({
      ...share(tab, id),
      channel: () => {
        throw new DOMException('no', 'SecurityError')
      },
    }),
    'no lock to be had': (tab: FakeTab, id: string): Sharing => ({
      ...share(tab, id),
      locks: { request: refuse },
    }),
    'no lead to be had': (tab: FakeTab, id: string): Sharing => ({
      ...share(tab, id),
      locks: {
        request: (name, ...rest) =>
          name.startsWith('gozon.push') ? refuse() : tab.locks.request(name, ...rest),
      },
    }),
  }

  test.each(Object.entries(broken))('%s: each has a socket and tells', async (_, sharing) => {
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
  })
})

describe('what else is said on the channel', () => {
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
  ])('%j is not heard', async (word) => {
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

  test('pages of another version keep to themselves', async () => {
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
