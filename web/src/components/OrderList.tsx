import { useLanguage } from '../language/useLanguage'
import { type Filter, filters } from '../orders'
import type { useOrders } from '../useOrders'
import { OrderRow } from './OrderRow'
import { ProblemNote } from './ProblemNote'

interface OrderListProps {
  orders: ReturnType<typeof useOrders>
  filter: Filter
  onFilter: (filter: Filter) => void
}

export function OrderList({ orders, filter, onFilter }: OrderListProps) {
  const { text } = useLanguage()
  const { shown, loading, problem, hasOlder, older, reload } = orders
  const empty = filter === 'all' ? text.orders.empty : text.orders.emptyOf
  return (
    <section className="card orders" aria-labelledby="orders-title">
      <h2 id="orders-title">{text.orders.title}</h2>
      <fieldset className="choices">
        <legend className="visually-hidden">{text.orders.filter}</legend>
        {filters.map((one) => (
          <label key={one}>
            <input
              type="radio"
              name="filter"
              checked={one === filter}
              onChange={() => onFilter(one)}
              data-testid={`filter-${one}`}
            />
            <span>{one === 'all' ? text.orders.all : text.status[one]}</span>
          </label>
        ))}
      </fieldset>
      <ProblemNote problem={problem} onRetry={() => void reload()} />
      {shown.length === 0 && !problem && (
        <p className="muted">{loading ? text.orders.loading : empty}</p>
      )}
      <ul>
        {shown.map((order) => (
          <OrderRow key={order.id} order={order} />
        ))}
      </ul>
      <ProblemNote problem={older.problem} />
      {hasOlder && (
        <button
          type="button"
          onClick={() => void older.act()}
          aria-disabled={older.busy}
          data-testid="older"
        >
          {older.busy ? text.orders.loadingOlder : text.orders.older}
        </button>
      )}
    </section>
  )
}
