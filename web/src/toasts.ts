import { toast } from 'sonner'
import { formatMoney } from './money'
import type { Order } from './orders'
import { text } from './text'

const READ_MS = 6_000
const READ_REASON_MS = 10_000

export function toastChange(order: Order) {
  const id = `${order.id}:${order.version}`
  const what = `${order.description || text.orders.untitled}, ${formatMoney(order.amount)}`
  if (order.status === 'FINISHED')
    toast.success(text.toasts.finished, { id, description: what, duration: READ_MS })
  if (order.status === 'CANCELLED')
    toast.error(text.toasts.cancelled, {
      id,
      description: `${what}. ${text.reason(order.reason)}`,
      duration: READ_REASON_MS,
    })
}
