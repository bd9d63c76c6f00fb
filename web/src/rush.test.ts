import { expect, test, vi } from 'vitest'
import type { Api } from './api'
import { Problem } from './problem'
import { rush } from './rush'

function shop(place: (n: number) => Promise<{ id: string }>) {
  let n = 0
  const api = {
    openAccount: vi.fn(async () => Promise.reject(new Problem(409, 'account-exists'))),
    topUp: vi.fn(async (_amount: number, _key: string) => ({})),
    placeOrder: vi.fn(async (_order: { amount: number }, _key: string) => place(++n)),
  }
  return api as typeof api & Pick<Api, 'openAccount' | 'topUp' | 'placeOrder'>
}
const goOn = new AbortController().signal

test('every order has its own key, and the top-up comes before the first order', async () => {
  const api = shop(async (n) => ({ id: `${n}` }))
  const ids: (string | undefined)[] = []
  const done = await rush(
    api,
    30,
    (_, id) => ids.push(id),
    goOn,
    (n) => `order ${n}`,
  )

  expect(done).toEqual({ placed: 30, failed: 0, problem: null })
  expect(new Set(ids)).toHaveLength(30)
  expect(new Set(api.placeOrder.mock.calls.map(([, key]) => key))).toHaveLength(30)
  const affordable = api.placeOrder.mock.calls.filter(([{ amount }]) => amount === 100)
  expect(affordable).toHaveLength(27)
  expect(api.topUp.mock.calls[0]?.[0]).toBeGreaterThanOrEqual(27 * 100)
  expect(api.topUp.mock.invocationCallOrder[0]).toBeLessThan(
    api.placeOrder.mock.invocationCallOrder[0] ?? 0,
  )
})

test('a limited number of orders is placed concurrently', async () => {
  let now = 0
  let most = 0
  const api = shop(async (n) => {
    most = Math.max(most, ++now)
    await new Promise((done) => setTimeout(done, 1))
    now--
    return { id: `${n}` }
  })
  await rush(api, 60, () => {}, goOn, String)
  expect(most).toBe(12)
})

test('a failed order is counted, and the others continue', async () => {
  const api = shop(async (n) =>
    n === 3 ? Promise.reject(new Problem(503, 'unavailable')) : { id: `${n}` },
  )
  expect(await rush(api, 5, () => {}, goOn, String)).toEqual({
    placed: 4,
    failed: 1,
    problem: new Problem(503, 'unavailable'),
  })
})

test('no further order is placed after a stop', async () => {
  const stop = new AbortController()
  const api = shop(async (n) => ({ id: `${n}` }))
  const done = await rush(
    api,
    300,
    ({ placed }) => placed === 20 && stop.abort(),
    stop.signal,
    String,
  )
  expect(done.placed).toBeLessThan(40)
})

test('no order is placed if the account cannot be opened', async () => {
  const api = shop(async (n) => ({ id: `${n}` }))
  api.openAccount.mockRejectedValueOnce(new Problem(503, 'unavailable'))
  await expect(rush(api, 5, () => {}, goOn, String)).rejects.toBeInstanceOf(Problem)
  expect(api.placeOrder).not.toHaveBeenCalled()
})
