import { useEffect, useMemo, useState } from 'react'
import type { Api, OrderWithJourney } from './api'
import { coalesce } from './coalesce'
import { asProblem, type Problem } from './problem'

/** One order with its journey, for as long as `id` stays the same; read anew when `version`, which is pushed, is newer than what was read. */
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

  // biome-ignore lint/correctness/useExhaustiveDependencies: the version says that there is something new
  useEffect(() => void refresh(), [refresh, version])

  return { order, problem, refresh }
}
