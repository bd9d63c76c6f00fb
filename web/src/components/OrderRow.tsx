import { memo } from 'react'
import { Link } from 'wouter'
import { useLanguage } from '../language/useLanguage'
import { type Order, placedAt } from '../orders'
import { Price } from './Price'

/** Memoised, because a pushed change concerns one of hundreds of rows. */
export const OrderRow = memo(function OrderRow({ order }: { order: Order }) {
  const { text, format } = useLanguage()
  const { id, description, amount, status, reason } = order
  const placed = placedAt(order)
  return (
    <li className="order-row" data-testid="order-row" data-order-id={id} data-status={status}>
      <Link href={`/orders/${id}`} className="what">
        {description || text.orders.untitled}
      </Link>
      <Price kopecks={amount} />
      <time className="when" dateTime={placed.toISOString()}>
        {format.moment(placed)}
      </time>
      <span className="badge" data-status={status}>
        {text.status[status]}
      </span>
      {status === 'CANCELLED' && <p className="reason">{text.reason(reason)}</p>}
    </li>
  )
})
