import { lazy, Suspense, useMemo, useRef, useState } from 'react'
import { Route, Switch, useLocation } from 'wouter'
import { createApi } from '../api'
import { useLanguage } from '../language/useLanguage'
import type { Filter } from '../orders'
import { useAccount } from '../useAccount'
import { useConnection } from '../useConnection'
import { useNotifier } from '../useNotifier'
import { useOrders } from '../useOrders'
import { useRush } from '../useRush'
import { AccountCard } from './AccountCard'
import { Boundary } from './Boundary'
import { Header } from './Header'
import { OrderForm } from './OrderForm'
import { OrderList } from './OrderList'
import { OrderPage } from './OrderPage'
import { View } from './View'

// Loaded on demand: the charts are a third of the script, and most shoppers never open them.
const Behind = lazy(() => import('./Behind'))

export function Shop({ userId, onLeave }: { userId: string; onLeave: () => void }) {
  const { text } = useLanguage()
  const api = useMemo(() => createApi(userId), [userId])
  const account = useAccount(api)
  const { refresh } = account
  const notify = useNotifier()
  const [filter, setFilter] = useState<Filter>('all')
  const [place] = useLocation()

  const arrivals = useRef(new Map<string, number>())
  // This hook comes before useOrders, so that no change is lost between reading the orders and listening.
  const connection = useConnection(api, {
    userId,
    onOrder(order, receivedAt) {
      arrivals.current.set(order.id, receivedAt)
      orders.take(order)
      if (order.status === 'FINISHED') void refresh()
    },
    onWelcome(gapless) {
      orders.catchUp(gapless)
      if (!gapless) void refresh()
    },
    onNotify: notify,
  })
  const orders = useOrders(api, filter, connection.notify)
  const rush = useRush(api)

  return (
    <>
      <Header
        userId={userId}
        onLeave={onLeave}
        connection={connection.state}
        onConnect={connection.connect}
      />
      <Boundary key={place}>
        <Switch>
          <Route path="/behind">
            <View title={text.behind.title}>
              <Suspense fallback={<p className="muted">{text.behind.loading}</p>}>
                <Behind api={api} rush={rush} rows={orders.rows} />
              </Suspense>
            </View>
          </Route>
          <Route path="/orders/:id">
            {({ id }) => (
              <OrderPage
                key={id}
                api={api}
                id={id}
                rows={orders.rows}
                shownAt={arrivals.current.get(id)}
              />
            )}
          </Route>
          <Route>
            <View title={text.nav.shop} className="shop" hidden>
              <div className="counter">
                <AccountCard api={api} account={account} />
                <OrderForm api={api} onPlaced={orders.take} />
              </div>
              <OrderList orders={orders} filter={filter} onFilter={setFilter} />
            </View>
          </Route>
        </Switch>
      </Boundary>
    </>
  )
}
