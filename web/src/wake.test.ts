import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { runWith } from './wake'

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 })
})
afterEach(() => {
  vi.useRealTimers()
})

function setUp() {
  const calls: string[] = []
  const call = (name: string) => () => void calls.push(name)
  const window = new EventTarget()
  const document = Object.assign(new EventTarget(), { visibilityState: 'visible' as const })
  const end = runWith(
    {
      start: call('start'),
      stop: call('stop'),
      wake: call('wake'),
      networkLost: call('networkLost'),
      looked: call('looked'),
    },
    {
      window,
      document,
      clock: {
        now: () => Date.now(),
        setTimeout: (run, ms) => setTimeout(run, ms) as unknown as number,
        clearTimeout: (handle) => clearTimeout(handle),
      },
    },
  )
  return { calls: () => calls.splice(0), window, document, end }
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)
const show = (persisted: boolean) => Object.assign(new Event('pageshow'), { persisted })

test('it starts with the page and stops with it, and then hears nothing more', async () => {
  const { calls, window, end } = setUp()
  expect(calls()).toEqual(['start'])
  end()
  expect(calls()).toEqual(['stop'])
  window.dispatchEvent(new Event('online'))
  window.dispatchEvent(show(true))
  vi.setSystemTime(Date.now() + 3_600_000)
  await pass(60_000)
  expect(calls()).toEqual([])
})

test.each([
  ['online', ['wake']],
  ['offline', ['networkLost']],
  ['focus', ['looked']],
  ['pagehide', ['stop']],
])('%s', (type, expected) => {
  const { calls, window } = setUp()
  calls()
  window.dispatchEvent(new Event(type))
  expect(calls()).toEqual(expected)
})

test('it leaves the lead while the browser freezes the page', () => {
  const { calls, document } = setUp()
  calls()
  document.dispatchEvent(new Event('freeze'))
  document.dispatchEvent(new Event('resume'))
  expect(calls()).toEqual(['stop', 'start'])
})

test.each([
  ['visible', ['looked', 'wake']],
  ['hidden', ['looked']],
])('made %s', (visibilityState, expected) => {
  const { calls, document } = setUp()
  calls()
  Object.assign(document, { visibilityState }).dispatchEvent(new Event('visibilitychange'))
  expect(calls()).toEqual(expected)
})

test('it starts again on the way back to a page that was kept, not on a first show', () => {
  const { calls, window } = setUp()
  calls()
  window.dispatchEvent(show(false))
  expect(calls()).toEqual([])
  window.dispatchEvent(show(true))
  expect(calls()).toEqual(['start'])
})

test('a sleep is noticed by the clock, which jumped; a slow timer is none', async () => {
  const { calls } = setUp()
  calls()
  await pass(60_000)
  vi.setSystemTime(Date.now() + 9_000)
  await pass(5_000)
  expect(calls()).toEqual([])
  vi.setSystemTime(Date.now() + 11_000)
  await pass(5_000)
  expect(calls()).toEqual(['wake'])
  await pass(60_000)
  expect(calls()).toEqual([])
})
