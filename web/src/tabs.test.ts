import { expect, test } from 'vitest'
import { FakeBrowser } from './fakes'
import { chooseTab, holdLock } from './tabs'

const tab = (id: string, visible: boolean, focusedAt: number) => ({ id, visible, focusedAt })

test.each([
  ['the visible tab', [tab('a', false, 9), tab('b', true, 0)], 'b'],
  ['of two visible tabs the one focused last', [tab('a', true, 1), tab('b', true, 2)], 'b'],
  ['without a visible tab the one focused last', [tab('a', false, 2), tab('b', false, 1)], 'a'],
  ['the first of equal tabs', [tab('a', true, 0), tab('b', true, 0)], 'a'],
])('%s is chosen', (_, tabs, expected) => {
  expect(chooseTab(tabs)).toBe(expected)
})

test('a stolen lock is not held if the request was aborted meanwhile', async () => {
  const browser = new FakeBrowser()
  const { locks } = browser.tab()
  const calls: string[] = []
  const [onHeld, onLost] = [() => void calls.push('onHeld'), () => void calls.push('onLost')]
  const aborted = new AbortController()
  holdLock(locks, { name: 'x', signal: aborted.signal, steal: true, onHeld, onLost })
  aborted.abort()
  await locks.request('x', { signal: new AbortController().signal }, () => void calls.push('free'))
  expect(calls).toEqual(['free'])
})
