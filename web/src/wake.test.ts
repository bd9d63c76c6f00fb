import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { runForPage } from './wake'

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
  const end = runForPage(
    {
      start: call('start'),
      stop: call('stop'),
      wake: call('wake'),
      networkLost: call('networkLost'),
      pageLooked: call('pageLooked'),
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

test('the socket starts and stops with the page, and ignores later events', async () => {
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
  ['focus', ['pageLooked']],
  ['pagehide', ['stop']],
])('%s', (type, expected) => {
  const { calls, window } = setUp()
  calls()
  window.dispatchEvent(new Event(type))
  expect(calls()).toEqual(expected)
})

test('the socket stops while the page is frozen', () => {
  const { calls, document } = setUp()
  calls()
  document.dispatchEvent(new Event('freeze'))
  document.dispatchEvent(new Event('resume'))
  expect(calls()).toEqual(['stop', 'start'])
})

test.each([
  ['visible', ['pageLooked', 'wake']],
  ['hidden', ['pageLooked']],
])('made %s', (visibilityState, expected) => {
  const { calls, document } = setUp()
  calls()
  Object.assign(document, { visibilityState }).dispatchEvent(new Event('visibilitychange'))
  expect(calls()).toEqual(expected)
})

test('the socket starts again when a cached page is shown, but not on the first show', () => {
  const { calls, window } = setUp()
  calls()
  window.dispatchEvent(show(false))
  expect(calls()).toEqual([])
  window.dispatchEvent(show(true))
  expect(calls()).toEqual(['start'])
})

test('a jump of the clock counts as a sleep, and a slow timer does not', async () => {
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
