import { useCallback, useEffect, useRef, useState } from 'react'
import { type Api, asProblem, type Problem } from './api'
import { type Order, OrderBook } from './orders'
import { useAction } from './useAction'

const PAGE = 20
// After a gap all that may have changed is read in one go; the server allows no more.
const WHOLE = 100

export function useOrders(api: Api, onNews: (order: Order) => void) {
  const [orders, setOrders] = useState<readonly Order[]>([])
  const [cursor, setCursor] = useState<string | null>(null)
  const [loading, setLoading] = useState(true)
  const [problem, setProblem] = useState<Problem | null>(null)
  const [book] = useState(() => new OrderBook())
  const reading = useRef(0)
  const complete = useRef(false)

  const show = useCallback(
    (news: readonly Order[] = []) => {
      setOrders(book.rows)
      for (const order of news) onNews(order)
    },
    [book, onNews],
  )

  const take = useCallback(
    (incoming: readonly Order[]) => {
      book.take(incoming)
      show()
    },
    [book, show],
  )

  const reload = useCallback(async () => {
    const turn = ++reading.current
    complete.current = false
    try {
      const page = await api.orders(book.rows.length > 0 ? WHOLE : PAGE)
      if (turn !== reading.current) return
      show(book.reread(page.items))
      setCursor(page.next_cursor)
      setProblem(null)
      complete.current = true
    } catch (error) {
      if (turn === reading.current) setProblem(asProblem(error))
    } finally {
      if (turn === reading.current) setLoading(false)
    }
  }, [api, book, show])

  useEffect(() => void reload(), [reload])

  const older = useAction(async () => {
    if (cursor === null) return
    const turn = reading.current
    const page = await api.orders(PAGE, cursor)
    take(page.items)
    if (turn === reading.current) setCursor(page.next_cursor)
  })

  const push = useCallback((order: Order) => show(book.push(order)), [book, show])

  /** Fills a gap in the pushed messages, or what an earlier reading failed to bring. */
  const catchUp = useCallback(
    (recovered: boolean) => {
      if (!recovered || !complete.current) void reload()
    },
    [reload],
  )

  return { orders, loading, problem, hasOlder: cursor !== null, older, reload, take, push, catchUp }
}
