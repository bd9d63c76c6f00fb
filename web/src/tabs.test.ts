import { expect, test } from 'vitest'
import { FakeBrowser } from './fakes'
import { chooseTeller, hold } from './tabs'

const tab = (id: string, visible: boolean, focusedAt: number) => ({ id, visible, focusedAt })

test.each([
  ['one in sight', [tab('a', false, 9), tab('b', true, 0)], 'b'],
  ['the one of two in sight that was focused last', [tab('a', true, 1), tab('b', true, 2)], 'b'],
  ['with none in sight the one focused last', [tab('a', false, 2), tab('b', false, 1)], 'a'],
  ['the first, if nothing speaks for another', [tab('a', true, 0), tab('b', true, 0)], 'a'],
])('%s tells', (_, tabs, expected) => {
  expect(chooseTeller(tabs)).toBe(expected)
})

test('a lock that is no longer wanted when it was stolen is not held', async () => {
  const browser = new FakeBrowser()
  const { locks } = browser.tab()
  const calls: string[] = []
  const [held, lost] = [() => void calls.push('held'), () => void calls.push('lost')]
  const unwanted = new AbortController()
  hold(locks, { name: 'x', signal: unwanted.signal, steal: true, held, lost })
  unwanted.abort()
  await locks.request('x', { signal: new AbortController().signal }, () => void calls.push('free'))
  expect(calls).toEqual(['free'])
})
