/** Returns a function that never runs twice at the same time. Calls during a run share one further run. */
export function coalesce(run: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null
  let again = false

  async function loop() {
    try {
      do {
        again = false
        await run()
      } while (again)
    } finally {
      running = null
    }
  }

  return () => {
    if (running) again = true
    else running = loop()
    return running
  }
}
