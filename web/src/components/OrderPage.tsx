import { Link } from 'wouter'
import type { Api } from '../api'
import { useLanguage } from '../language/useLanguage'
import { type Order, placedAt } from '../orders'
import { useOrder } from '../useOrder'
import { Journey } from './Journey'
import { Price } from './Price'
import { ProblemNote } from './ProblemNote'
import { View } from './View'

interface OrderPageProps {
  api: Api
  id: string
  rows: readonly Order[]
  /** When the change was pushed, in milliseconds since 1970; undefined if the page was not open then. */
  shownAt: number | undefined
}

export function OrderPage({ api, id, rows, shownAt }: OrderPageProps) {
  const { text } = useLanguage()
  const pushed = rows.find((row) => row.id === id)
  const { order, problem, refresh } = useOrder(api, id, pushed?.version ?? 0)
  const known = pushed && (!order || pushed.version > order.version) ? pushed : order

  return (
    <View
      title={known ? known.description || text.orders.untitled : text.page.id}
      className="view narrow"
      above={
        <Link href="/" className="back" data-testid="back">
          ← {text.page.back}
        </Link>
      }
    >
      <ProblemNote problem={problem} onRetry={() => void refresh()} />
      {!known && !problem && <p className="muted">{text.page.loading}</p>}
      {known && <Outcome order={known} />}
      {order && <Journey order={order} shownAt={shownAt} />}
    </View>
  )
}

function Outcome({ order }: { order: Order }) {
  const { text, format } = useLanguage()
  const { id, amount, status, reason } = order
  const placed = placedAt(order)
  return (
    <section className="card outcome" data-testid="outcome" data-status={status}>
      <p className="sum">
        <Price kopecks={amount} />
        <span className="badge" data-status={status}>
          {text.status[status]}
        </span>
      </p>
      <p>
        {status === 'NEW' && text.page.waiting}
        {status === 'FINISHED' && text.page.paid}
        {status === 'CANCELLED' && `${text.reason(reason)} ${text.remedy(reason)}`}
      </p>
      <p className="muted">
        {text.page.placed} <time dateTime={placed.toISOString()}>{format.moment(placed)}</time>
      </p>
      <p className="muted number">
        {text.page.id} {id}
      </p>
    </section>
  )
}
