import { useEffect, useMemo, useState } from 'react'
import type { Api } from './api'
import { coalesce } from './coalesce'
import { asProblem, type Problem } from './problem'

/** `reading` counts the reads, because the ledger can have new entries although the balance is equal. */
export type AccountState =
  | { status: 'loading' }
  | { status: 'none' }
  | { status: 'open'; balance: number; reading: number }

export function useAccount(api: Api) {
  const [state, setState] = useState<AccountState>({ status: 'loading' })
  const [problem, setProblem] = useState<Problem | null>(null)

  // Each change of the balance is read with this function. Its reads never overlap, so no late response shows
  // an old one.
  const refresh = useMemo(
    () =>
      coalesce(async () => {
        try {
          const { balance } = await api.account()
          setState((before) => ({
            status: 'open',
            balance,
            reading: before.status === 'open' ? before.reading + 1 : 0,
          }))
          setProblem(null)
        } catch (error) {
          const problem = asProblem(error)
          if (problem.status === 404) setState({ status: 'none' })
          setProblem(problem.status === 404 ? null : problem)
        }
      }),
    [api],
  )

  useEffect(() => {
    void refresh()
    // Another tab, or another device, may have opened the account or topped it up.
    const looked = () => void (document.visibilityState === 'visible' && refresh())
    window.addEventListener('focus', looked)
    document.addEventListener('visibilitychange', looked)
    return () => {
      window.removeEventListener('focus', looked)
      document.removeEventListener('visibilitychange', looked)
    }
  }, [refresh])

  return { state, problem, refresh }
}
