import createClient from 'openapi-fetch'
import { Problem, problemIn } from './problem'
import type { components, paths } from './schema'

type Schemas = components['schemas']
export type Account = Schemas['Account']
export type LedgerEntry = Schemas['LedgerEntry']
export type NewOrder = Schemas['CreateOrder']
export type OrderStatus = Schemas['Order']['status']
export type OrderWithJourney = Schemas['OrderWithJourney']
export type Hop = Schemas['Hop']
export type Snapshot = Schemas['Snapshot']

const ANSWER_WITHIN_MS = 15_000

export type Api = ReturnType<typeof createApi>

/** Makes REST calls as one user. Each call throws a Problem unless it succeeds. */
export function createApi(userId: string, baseUrl = location.origin) {
  const client = createClient<paths>({
    baseUrl,
    // In production, the infrastructure in front replaces the X-User-Id of the browser.
    headers: { 'X-User-Id': userId },
    fetch: (request) => fetch(request, { signal: AbortSignal.timeout(ANSWER_WITHIN_MS) }),
  })
  const keyed = (key: string) => ({ header: { 'Idempotency-Key': key } })

  return {
    account: () => data(client.GET('/api/payments/account')),
    openAccount: () => data(client.POST('/api/payments/account')),
    topUp: (amount: number, key: string) =>
      data(client.POST('/api/payments/account/top-ups', { body: { amount }, params: keyed(key) })),
    ledger: (limit: number, cursor: number | null) =>
      data(
        client.GET('/api/payments/account/entries', {
          params: { query: given({ limit, cursor }) },
        }),
      ),
    placeOrder: (order: NewOrder, key: string) =>
      data(client.POST('/api/orders', { body: order, params: keyed(key) })),
    orders: (limit: number, status: OrderStatus | null, cursor: string | null) =>
      data(
        client.GET('/api/orders', {
          params: { query: given({ limit, status, cursor }) },
        }),
      ),
    order: (order_id: string) =>
      data(client.GET('/api/orders/{order_id}', { params: { path: { order_id } } })),
    backstage: () => data(client.GET('/api/backstage')),
    ticket: async () => (await data(client.POST('/api/notifications/tickets'))).ticket,
  }
}

type Given<Query> = { [Name in keyof Query]?: NonNullable<Query[Name]> }

function given<Query extends object>(query: Query): Given<Query> {
  const named = Object.entries(query).filter(([, value]) => value !== null)
  return Object.fromEntries(named) as Given<Query>
}

async function data<T>(
  call: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<T> {
  // The call rejects only if the connection breaks, before or during the response.
  const { data, error, response } = await call.catch((broken) => {
    throw new Problem(0, 'unreachable', [], String(broken))
  })
  if (data === undefined) throw problemIn(response.status, error)
  return data
}
