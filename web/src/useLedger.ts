import { useEffect, useMemo, useState } from 'react'
import type { Api, LedgerEntry } from './api'
import { coalesce } from './coalesce'
import { mergeEntries, olderThan } from './ledger'
import { asProblem, type Problem } from './problem'
import { useAction } from './useAction'

const PAGE_SIZE = 20

/** The entries of the ledger, read again after each read of the balance (`reading`). */
export function useLedger(api: Api, reading: number) {
  const [entries, setEntries] = useState<readonly LedgerEntry[] | null>(null)
  const [problem, setProblem] = useState<Problem | null>(null)

  const refresh = useMemo(
    () =>
      coalesce(async () => {
        try {
          const { items } = await api.ledger(PAGE_SIZE, null)
          setEntries((held) => mergeEntries(held ?? [], items))
          setProblem(null)
        } catch (error) {
          setProblem(asProblem(error))
        }
      }),
    [api],
  )

  // biome-ignore lint/correctness/useExhaustiveDependencies: after a read of the balance there may be new entries
  useEffect(() => void refresh(), [refresh, reading])

  const cursor = olderThan(entries ?? [])
  const older = useAction(async () => {
    const { items } = await api.ledger(PAGE_SIZE, cursor)
    setEntries((held) => mergeEntries(held ?? [], items))
  })

  return { entries, problem, refresh, older, hasOlder: cursor !== null }
}
