import type { Order } from './orders'
import { text } from './text'

export interface FieldError {
  field: string
  message: string
}

export interface Account {
  user_id: string
  balance: number
}

export interface OrderPage {
  items: Order[]
  next_cursor: string | null
}

export interface NewOrder {
  amount: number
  description: string
}

export class Problem extends Error {
  override name = 'Problem'

  constructor(
    /** 0 when no answer came. */
    readonly status: number,
    readonly title: string,
    readonly detail = '',
    readonly fields: readonly FieldError[] = [],
  ) {
    super(title)
  }
}

export function asProblem(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(0, text.problem.unexpected, String(error))
}

interface Call {
  method?: 'GET' | 'POST'
  body?: unknown
  key?: string
}

const ANSWER_WITHIN_MS = 15_000

export type Api = ReturnType<typeof createApi>

export function createApi(userId: string) {
  async function call<T>(path: string, { method = 'GET', body, key }: Call = {}): Promise<T> {
    // In production the infrastructure in front sets X-User-Id and drops what the browser sent.
    const headers = new Headers({ 'X-User-Id': userId })
    if (body !== undefined) headers.set('Content-Type', 'application/json')
    if (key) headers.set('Idempotency-Key', key)
    const response = await fetch(`/api${path}`, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    }).catch(() => {
      throw new Problem(0, text.problem.unreachable, text.problem.unreachableDetail)
    })
    if (!response.ok) throw await problemIn(response)
    return response.json()
  }

  return {
    account: () => call<Account>('/payments/account'),
    openAccount: () => call<Account>('/payments/account', { method: 'POST' }),
    topUp: (amount: number, key: string) =>
      call<unknown>('/payments/account/top-ups', { method: 'POST', body: { amount }, key }),
    placeOrder: (order: NewOrder, key: string) =>
      call<Order>('/orders', { method: 'POST', body: order, key }),
    orders: (limit: number, cursor?: string) =>
      call<OrderPage>(
        `/orders?${new URLSearchParams({ limit: `${limit}`, ...(cursor && { cursor }) })}`,
      ),
    ticket: async () =>
      (await call<{ ticket: string }>('/notifications/tickets', { method: 'POST' })).ticket,
  }
}

async function problemIn(response: Response): Promise<Problem> {
  const body: { title?: string; detail?: string; errors?: FieldError[] } | null = await response
    .json()
    .catch(() => null)
  return new Problem(
    response.status,
    body?.title || text.problem.status(response.status),
    body?.detail,
    body?.errors,
  )
}
