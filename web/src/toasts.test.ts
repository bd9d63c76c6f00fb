import { toast } from 'sonner'
import { afterEach, expect, test, vi } from 'vitest'
import { type Order, OrderBook } from './orders'
import { toastChange } from './toasts'

vi.mock('sonner', () => ({ toast: { success: vi.fn(), error: vi.fn() } }))

const order = (id: string, more: Partial<Order> = {}): Order => ({
  id,
  amount: 40_000,
  description: 'Tea',
  status: 'FINISHED',
  version: 2,
  ...more,
})
const cancelled = order('02', { status: 'CANCELLED', reason: 'no_account' })

afterEach(() => vi.clearAllMocks())

test('of a first load only what was missed is toasted, in whatever order it comes with the list', () => {
  for (const listFirst of [true, false]) {
    vi.clearAllMocks()
    const book = new OrderBook()
    const list = () => book.reread([order('03'), cancelled, order('01')])
    const news = [
      ...(listFirst ? list() : []),
      ...[cancelled, order('01')].flatMap((missed) => book.push(missed)),
      ...list(),
    ]
    for (const change of news) toastChange(change)
    expect(toast.error).toHaveBeenCalledOnce()
    expect(toast.success).toHaveBeenCalledOnce()
    expect(toast.success).toHaveBeenCalledWith(
      'Order paid',
      expect.objectContaining({ id: '01:2', description: expect.stringContaining('Tea') }),
    )
  }
})

test('the toast of a cancelled order says why', () => {
  toastChange(cancelled)
  expect(toast.error).toHaveBeenCalledWith(
    'Order cancelled',
    expect.objectContaining({ description: expect.stringContaining('no account') }),
  )
})

test('an order in progress has no toast', () => {
  toastChange(order('01', { status: 'NEW', version: 1 }))
  expect(toast.success).not.toHaveBeenCalled()
  expect(toast.error).not.toHaveBeenCalled()
})
