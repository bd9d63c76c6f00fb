import { afterEach, expect, test, vi } from 'vitest'
import { createApi } from './api'
import { asProblem, Problem } from './problem'

const SHOP = 'http://shop.test'

afterEach(() => vi.unstubAllGlobals())

function answering(answer: () => Response | Promise<Response>) {
  const fetch = vi.fn<(request: Request) => Promise<Response>>(async () => answer())
  vi.stubGlobal('fetch', fetch)
  return { asked: () => fetch.mock.calls[0]?.[0] as Request, api: createApi('ann', SHOP) }
}

const failure = (call: Promise<unknown>) => call.then(() => null, asProblem)

test('an order carries its user, its key and an integer amount', async () => {
  const { asked, api } = answering(() => Response.json({ id: '1' }, { status: 201 }))
  await api.placeOrder({ amount: 40_050, description: 'Tea' }, 'key-1')

  const request = asked()
  expect(request.url).toBe(`${SHOP}/api/orders`)
  expect(request.method).toBe('POST')
  expect(await request.text()).toBe('{"amount":40050,"description":"Tea"}')
  expect(request.headers.get('Content-Type')).toBe('application/json')
  expect(request.headers.get('X-User-Id')).toBe('ann')
  expect(request.headers.get('Idempotency-Key')).toBe('key-1')
})

test('unset query parameters are left out, and a cursor is escaped', async () => {
  const first = answering(() => Response.json({ items: [], next_cursor: null }))
  await first.api.orders(20, null, null)
  expect(first.asked().url).toBe(`${SHOP}/api/orders?limit=20`)

  const older = answering(() => Response.json({ items: [], next_cursor: null }))
  await older.api.orders(20, 'NEW', 'a+b=&c')
  const query = new URL(older.asked().url).searchParams
  expect(Object.fromEntries(query)).toEqual({ limit: '20', status: 'NEW', cursor: 'a+b=&c' })
})

test('problem details become a Problem with slug and field errors', async () => {
  const errors = [{ field: 'amount', message: 'at least 1' }]
  const body = { type: 'urn:gozon:problem:invalid-request', detail: 'The body is wrong', errors }
  const { api } = answering(() => Response.json(body, { status: 400 }))
  expect(await failure(api.topUp(0, 'k'))).toMatchObject({
    status: 400,
    slug: 'invalid-request',
    message: 'The body is wrong',
    fields: errors,
  })
})

test('an error response without problem details becomes a Problem', async () => {
  const { api } = answering(() => new Response('<h1>Bad gateway</h1>', { status: 502 }))
  expect(await failure(api.account())).toMatchObject({ status: 502, slug: '' })
})

test('a missing or broken response becomes a Problem with status 0', async () => {
  const away = answering(() => Promise.reject(new TypeError('Failed to fetch')))
  const failed = await failure(away.api.account())
  expect(failed).toBeInstanceOf(Problem)
  expect(failed).toMatchObject({ status: 0, slug: 'unreachable' })

  const cut = answering(() => new Response('{"user_id":"a'))
  expect(await failure(cut.api.account())).toMatchObject({ status: 0, slug: 'unreachable' })
})
