import { useEffect, useMemo, useState } from 'react'
import type { Api } from './api'
import { coalesce } from './coalesce'
import { asProblem, type Problem } from './problem'

export type AccountState =
  | { status: 'loading' }
  | { status: 'none' }
  | { status: 'open'; balance: number }

export function useAccount(api: Api) {
  const [state, setState] = useState<AccountState>({ status: 'loading' })
  const [problem, setProblem] = useState<Problem | null>(null)

  // Every change of the balance is read back this way, so that no late answer shows an older one.
  const refresh = useMemo(
    () =>
      coalesce(async () => {
        try {
          const { balance } = await api.account()
          setState({ status: 'open', balance })
          setProblem(null)
        } catch (error) {
          const problem = asProblem(error)
          if (problem.status === 404) setState({ status: 'none' })
          setProblem(problem.status === 404 ? null : problem)
        }
      }),
    [api],
  )

  useEffect(() => void refresh(), [refresh])

  return { state, problem, refresh }
}
