import { useCallback, useEffect, useMemo } from 'react'
import { toast } from 'sonner'
import { createApi } from '../api'
import type { Order } from '../orders'
import { toastChange } from '../toasts'
import { useAccount } from '../useAccount'
import { useConnection } from '../useConnection'
import { useOrders } from '../useOrders'
import { AccountCard } from './AccountCard'
import { Header } from './Header'
import { OrderForm } from './OrderForm'
import { OrderList } from './OrderList'

export function Shop({ userId, onLeave }: { userId: string; onLeave: () => void }) {
  const api = useMemo(() => createApi(userId), [userId])
  const account = useAccount(api)
  const { refresh } = account

  const tell = useCallback(
    (order: Order) => {
      toastChange(order)
      if (order.status === 'FINISHED') void refresh()
    },
    [refresh],
  )
  const orders = useOrders(api, tell)
  const connection = useConnection(api, { onOrder: orders.push, onWelcome: orders.catchUp })

  useEffect(() => () => void toast.dismiss(), [])

  return (
    <>
      <Header
        userId={userId}
        onLeave={onLeave}
        connection={connection.state}
        onConnect={connection.connect}
      />
      <main className="shop">
        <div className="counter">
          <AccountCard api={api} account={account} />
          <OrderForm api={api} onPlaced={(order) => orders.take([order])} />
        </div>
        <OrderList orders={orders} />
      </main>
    </>
  )
}
