import { expect, test } from 'vitest'
import { coalesce } from './coalesce'

test('calls during a run share one further run', async () => {
  let runs = 0
  const gates: (() => void)[] = []
  const refresh = coalesce(async () => {
    runs++
    await new Promise<void>((open) => gates.push(open))
  })

  const done = refresh()
  void refresh()
  void refresh()
  expect(runs).toBe(1)
  gates[0]?.()
  await Promise.resolve()
  await Promise.resolve()
  expect(runs).toBe(2)
  gates[1]?.()
  await done
  expect(runs).toBe(2)
})

test('a failed run does not block the next run', async () => {
  let runs = 0
  const refresh = coalesce(async () => {
    if (++runs === 1) throw new Error('away')
  })
  await expect(refresh()).rejects.toThrow('away')
  await refresh()
  expect(runs).toBe(2)
})
