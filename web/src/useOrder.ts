import { useEffect, useMemo, useState } from 'react'
import type { Api, OrderWithJourney } from './api'
import { coalesce } from './coalesce'
import { asProblem, type Problem } from './problem'

/**
 * Reads one order with its journey, and again when `version`, the pushed version, changes.
 *
 * `id` must stay the same for the life of the component.
 */
export function useOrder(api: Api, id: string, version: number) {
  const [order, setOrder] = useState<OrderWithJourney | null>(null)
  const [problem, setProblem] = useState<Problem | null>(null)

  const refresh = useMemo(
    () =>
      coalesce(async () => {
        try {
          const read = await api.order(id)
          setOrder((held) => (held && held.version > read.version ? held : read))
          setProblem(null)
        } catch (error) {
          setProblem(asProblem(error))
        }
      }),
    [api, id],
  )

  // biome-ignore lint/correctness/useExhaustiveDependencies: a new version means that the order has changed
  useEffect(() => void refresh(), [refresh, version])

  return { order, problem, refresh }
}
