import { text } from '../text'
import type { useOrders } from '../useOrders'
import { OrderRow } from './OrderRow'
import { ProblemNote } from './ProblemNote'

export function OrderList({ orders: book }: { orders: ReturnType<typeof useOrders> }) {
  const { orders, loading, problem, hasOlder, older, reload } = book
  return (
    <section className="card orders" aria-labelledby="orders-title">
      <h2 id="orders-title">{text.orders.title}</h2>
      <ProblemNote problem={problem} onRetry={() => void reload()} />
      {orders.length === 0 && !problem && (
        <p className="muted">{loading ? text.orders.loading : text.orders.empty}</p>
      )}
      <ul>
        {orders.map((order) => (
          <OrderRow key={order.id} order={order} />
        ))}
      </ul>
      <ProblemNote problem={older.problem} />
      {hasOlder && (
        <button
          type="button"
          onClick={() => void older.act()}
          disabled={older.busy}
          data-testid="older"
        >
          {older.busy ? text.orders.loadingOlder : text.orders.older}
        </button>
      )}
    </section>
  )
}
