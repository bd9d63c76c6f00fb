import { type Order, placedAt } from '../orders'
import { text } from '../text'
import { Price } from './Price'

const time = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' })

export function OrderRow({ order }: { order: Order }) {
  const { id, description, amount, status, reason } = order
  const placed = placedAt(order)
  return (
    <li className="order-row" data-testid="order-row" data-order-id={id} data-status={status}>
      <span className="what">{description || text.orders.untitled}</span>
      <Price kopecks={amount} />
      <time className="when" dateTime={placed.toISOString()}>
        {time.format(placed)}
      </time>
      <span className="badge">{text.status[status]}</span>
      {status === 'CANCELLED' && <p className="reason">{text.reason(reason)}</p>}
    </li>
  )
}
