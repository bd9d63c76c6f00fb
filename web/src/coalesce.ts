/** Runs one at a time; calls made meanwhile share one further run, so the last run sees them all. */
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
