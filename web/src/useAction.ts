import { useRef, useState } from 'react'
import { asProblem, type Problem } from './problem'

/** Runs one request at a time and holds what a form shows of it. */
export function useAction<Args extends unknown[]>(run: (...args: Args) => Promise<void>) {
  const [busy, setBusy] = useState(false)
  const [problem, setProblem] = useState<Problem | null>(null)
  // A disabled button shows only after the next render; a second click can come before it.
  const running = useRef(false)

  async function act(...args: Args) {
    if (running.current) return
    running.current = true
    setBusy(true)
    setProblem(null)
    try {
      await run(...args)
    } catch (error) {
      setProblem(asProblem(error))
    } finally {
      running.current = false
      setBusy(false)
    }
  }

  return { act, busy, problem }
}
