import { useEffect, useRef, useState } from 'react'
import { asProblem, type Problem } from './problem'

const JUST_NOW_MS = 500

/**
 * Runs one request at a time and holds what a form shows of it. Its button is to be `aria-disabled` while it is
 * busy: `disabled` would take the focus away.
 */
export function useAction<Args extends unknown[]>(run: (...args: Args) => Promise<void>) {
  const [busy, setBusy] = useState(false)
  const [problem, setProblem] = useState<Problem | null>(null)
  // A second click can come before what the first has changed is rendered.
  const running = useRef(false)
  const doneAt = useRef(Number.NEGATIVE_INFINITY)

  async function act(...args: Args) {
    if (running.current) return
    running.current = true
    setBusy(true)
    setProblem(null)
    try {
      await run(...args)
      doneAt.current = performance.now()
    } catch (error) {
      setProblem(asProblem(error))
    } finally {
      setBusy(false)
    }
  }

  useEffect(() => {
    if (!busy) running.current = false
  }, [busy])

  /** Of a double click the second may come after the answer, and mean nothing new. */
  const justDone = () => performance.now() - doneAt.current < JUST_NOW_MS

  return { act, busy, problem, justDone }
}
