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

const PAGE = 20
const MOST = 100

/** `ends` says of each filter that was read how far back: the last order, or null where there are no more. */
type Ends = Partial<Record<Filter, string | null>>

/** `onNews` gets what a list that was read once more tells; rows that nobody had seen before are none. */
export function useOrders(api: Api, filter: Filter, onNews: (order: Order) => void) {
  const held = useRef<readonly Order[]>([])
  const [rows, setRows] = useState(held.current)
  const [ends, setEnds] = useState<Ends>({})
  const [problem, setProblem] = useState<Problem | null>(null)
  const turn = useRef(0)
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
    const mine = ++turn.current
    complete.current = false
    // What is held may have changed, and is read in one go as far as the server allows.
    const limit = Math.min(MOST, Math.max(PAGE, held.current.length))
    try {
      const read: Ends = {}
      for (const of of new Set<Filter>(['all', filter])) {
        let cursor: string | null = null
        do {
          const page = await readPage(of, limit, cursor)
          if (mine !== turn.current) return
          reread(page.items)
          cursor = page.next_cursor
          // What is held as NEW beyond this page may have been decided meanwhile.
        } while (of === 'all' && hasNewBefore(held.current, cursor))
        read[of] = cursor
      }
      setEnds(read)
      setProblem(null)
      complete.current = true
    } catch (error) {
      if (mine === turn.current) setProblem(asProblem(error))
    }
  }, [filter, readPage, reread])

  useEffect(() => void reload(), [reload])

  const older = useAction(async () => {
    if (!end) return
    const mine = turn.current
    const page = await readPage(filter, PAGE, end)
    reread(page.items)
    if (mine === turn.current) setEnds((ends) => ({ ...ends, [filter]: page.next_cursor }))
  })

  /** Fills a gap in the pushed messages, or what an earlier reading failed to bring. */
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
