import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Page, SETTLED_MS, world } from './fakePages'

const RUNS = 60
const STEPS = 40

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 })
})
afterEach(() => {
  vi.useRealTimers()
})

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)

/** Mulberry32: the same run for the same seed. */
function chance(seed: number) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

async function run(seed: number, { suspending = false, fastLocks = false } = {}) {
  const random = chance(seed)
  const pick = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)] as T
  const { server, pages, open, toasts } = world({ fastLocks })
  const living: Page[] = [await open('0')]
  const finished: string[] = []
  const add = async () => {
    if (living.length < 5) living.push(await open(`${pages.length}`, { visible: random() < 0.5 }))
  }
  const end = (how: 'close' | 'crash') => () => {
    if (living.length < 2) return
    const page = pick(living)
    living.splice(living.indexOf(page), 1)
    page[how]()
  }
  const finish = () => {
    const id = `order-${finished.length}`
    finished.push(id)
    server.finish(id)
  }
  const acts = [
    ...[add, end('close'), end('crash'), finish, finish, finish, finish, finish],
    () => pick(living).look({ visible: random() < 0.7, focused: random() < 0.5 }),
    () => pick(living).socket.wake(),
    () => pick(living).socket.connect(),
    () => server.close(1006),
    ...(suspending ? [() => pick(living).tab.freeze(), () => pick(living).tab.thaw()] : []),
  ]
  for (let step = 0; step < STEPS; step++) {
    await pick(acts)()
    await pass(Math.floor(random() < 0.7 ? random() * 6 : random() * 3_000))
    if (!suspending) expect(server.connected.length).toBeLessThanOrEqual(1)
  }
  for (const { tab } of living) tab.thaw()
  pick(living).look()
  await pass(100_000)

  const notified = suspending || fastLocks ? [...new Set(toasts())] : toasts()
  expect(notified.toSorted()).toEqual(finished.toSorted())
  const lasting = pages.flatMap(({ lastingToasts }) => lastingToasts)
  if (!suspending) expect(new Set(lasting).size).toBe(lasting.length)
  expect(server.connected).toHaveLength(1)
  for (const { rows, state } of living) {
    expect(state).toEqual({ phase: 'live', replica: 'notifier-1' })
    for (const id of finished) expect(rows.get(id)?.status).toBe('FINISHED')
  }
  for (const page of living) page.close()
  await pass(SETTLED_MS)
  expect(vi.getTimerCount()).toBe(0)
}

async function runAll(options?: { suspending?: boolean; fastLocks?: boolean }) {
  for (let seed = 1; seed <= RUNS; seed++) {
    await run(seed, options).catch((error) => {
      throw new Error(`seed ${seed}: ${error.message}`, { cause: error })
    })
  }
}

test(
  'tabs open, close, crash and lose their connection: all show each change, and one notifies',
  () => runAll(),
  60_000,
)

test(
  'the same, if the next leader starts before the last messages of the former arrive',
  () => runAll({ fastLocks: true }),
  60_000,
)

// A leader that wakes up may repeat a notification before it learns that it lost the lead. So duplicates are
// allowed.
test(
  'tabs are suspended, too: all show each change, and at least one notifies',
  () => runAll({ suspending: true }),
  60_000,
)
