import { useCallback, useEffect, useRef, useState } from 'react'
import type { Api } from './api'
import {
  type Filter,
  hasNewBefore,
  mergeOrders,
  type Order,
  shownOrders,
  statusChanges,
} from './orders'
import { asProblem, type Problem } from './problem'
import { useAction } from './useAction'

const PAGE_SIZE = 20
const PAGE_SIZE_LIMIT = 100

/** For each filter that was read, the id of the last order that was read; null if there are no older ones. */
type Ends = Partial<Record<Filter, string | null>>

/** Holds the orders. `onNews` gets each held order whose status has changed when the list was read again. */
export function useOrders(api: Api, filter: Filter, onNews: (order: Order) => void) {
  const held = useRef<readonly Order[]>([])
  const [rows, setRows] = useState(held.current)
  const [ends, setEnds] = useState<Ends>({})
  const [problem, setProblem] = useState<Problem | null>(null)
  const generation = useRef(0)
  const complete = useRef(false)
  const end = ends[filter]

  const take = useCallback((...incoming: readonly Order[]) => {
    held.current = mergeOrders(held.current, incoming)
    setRows(held.current)
  }, [])

  const reread = useCallback(
    (incoming: readonly Order[]) => {
      const news = statusChanges(held.current, incoming)
      take(...incoming)
      for (const order of news) onNews(order)
    },
    [take, onNews],
  )

  const readPage = useCallback(
    (of: Filter, limit: number, cursor: string | null = null) =>
      api.orders(limit, of === 'all' ? null : of, cursor),
    [api],
  )

  const reload = useCallback(async () => {
    const own = ++generation.current
    complete.current = false
    // All held orders may have changed. They are read in one request, up to the limit of the server.
    const limit = Math.min(PAGE_SIZE_LIMIT, Math.max(PAGE_SIZE, held.current.length))
    try {
      const read: Ends = {}
      for (const of of new Set<Filter>(['all', filter])) {
        let cursor: string | null = null
        do {
          const page = await readPage(of, limit, cursor)
          if (own !== generation.current) return
          reread(page.items)
          cursor = page.next_cursor
          // Goes on while older orders are held as NEW, because they may have been decided meanwhile.
        } while (of === 'all' && hasNewBefore(held.current, cursor))
        read[of] = cursor
      }
      setEnds(read)
      setProblem(null)
      complete.current = true
    } catch (error) {
      if (own === generation.current) setProblem(asProblem(error))
    }
  }, [filter, readPage, reread])

  useEffect(() => void reload(), [reload])

  const older = useAction(async () => {
    if (!end) return
    const own = generation.current
    const page = await readPage(filter, PAGE_SIZE, end)
    reread(page.items)
    if (own === generation.current) setEnds((ends) => ({ ...ends, [filter]: page.next_cursor }))
  })

  /** Reads the orders again if pushed messages may be missing, or if the last read failed. */
  const catchUp = useCallback(
    (recovered: boolean) => {
      if (!recovered || !complete.current) void reload()
    },
    [reload],
  )

  return {
    rows,
    shown: shownOrders(rows, filter, end),
    loading: end === undefined,
    problem,
    hasOlder: Boolean(end),
    older,
    reload,
    take,
    catchUp,
  }
}
