import { afterEach, expect, test, vi } from 'vitest'
import { asProblem, createApi, Problem } from './api'

afterEach(() => vi.unstubAllGlobals())

function answering(answer: () => Response | Promise<Response>) {
  const fetch = vi.fn<(url: string, init: RequestInit) => Promise<Response>>(async () => answer())
  vi.stubGlobal('fetch', fetch)
  return fetch
}

test('an order carries its user, its key and an integer amount', async () => {
  const fetch = answering(() => Response.json({ id: '1' }, { status: 201 }))
  await createApi('ann').placeOrder({ amount: 40_050, description: 'Tea' }, 'key-1')

  const [url, init] = fetch.mock.calls[0] ?? []
  const headers = new Headers(init?.headers)
  expect(url).toBe('/api/orders')
  expect(init?.method).toBe('POST')
  expect(init?.body).toBe('{"amount":40050,"description":"Tea"}')
  expect(headers.get('X-User-Id')).toBe('ann')
  expect(headers.get('Idempotency-Key')).toBe('key-1')
})

test('a cursor is escaped in the address', async () => {
  const fetch = answering(() => Response.json({ items: [], next_cursor: null }))
  await createApi('ann').orders(20, 'a+b=&c')
  expect(fetch.mock.calls[0]?.[0]).toBe('/api/orders?limit=20&cursor=a%2Bb%3D%26c')
})

test('problem details become a Problem with its field errors', async () => {
  const errors = [{ field: 'amount', message: 'at least 1' }]
  answering(() =>
    Response.json({ title: 'Invalid', detail: 'The body is wrong', errors }, { status: 400 }),
  )
  const problem = asProblem(
    await createApi('ann')
      .topUp(0, 'k')
      .catch((error) => error),
  )
  expect(problem).toMatchObject({
    status: 400,
    title: 'Invalid',
    detail: 'The body is wrong',
    fields: errors,
  })
})

test('an error that is no JSON still has words', async () => {
  answering(() => new Response('<h1>Bad gateway</h1>', { status: 502 }))
  const problem = asProblem(
    await createApi('ann')
      .account()
      .catch((error) => error),
  )
  expect(problem.status).toBe(502)
  expect(problem.title).toContain('502')
})

test('no answer at all is a Problem of status 0', async () => {
  answering(() => Promise.reject(new TypeError('Failed to fetch')))
  await expect(createApi('ann').account()).rejects.toBeInstanceOf(Problem)
  await expect(createApi('ann').account()).rejects.toMatchObject({ status: 0 })
})
