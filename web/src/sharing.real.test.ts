import { expect, test, vi } from 'vitest'
import { Page } from './fakePages'
import { FakeBrowser, FakeServer } from './fakes'
import type { Sharing } from './sharing'

// The tabs are pages of one thread here, so none can crash.
test('real channels and locks behave as the fake ones', async ({ skip }) => {
  const locks: LockManager | undefined = globalThis.navigator?.locks
  if (!locks) return skip('Node has locks since version 24')
  const [browser, server] = [new FakeBrowser(), new FakeServer()]
  const open = (name: string) =>
    new Page(name, browser, server, {
      sharing: (_, id): Sharing => ({
        locks,
        channel: (name) => new BroadcastChannel(name),
        newId: () => `${id}-${Math.random()}`,
      }),
    })
  const pages = ['a', 'b', 'c'].map(open)
  const [a, b, c] = pages as [Page, Page, Page]
  // Stops and starts, as React's StrictMode does.
  a.socket.stop()
  a.socket.start()
  await vi.waitFor(() => {
    for (const { state } of pages) expect(state?.phase).toBe('live')
  })
  c.look()
  await new Promise((resolve) => setTimeout(resolve, 50))

  server.finish('x')
  await vi.waitFor(() => expect(c.toasts).toEqual(['x']))
  expect(server.connected).toHaveLength(1)
  const leader = pages.find(({ leads }) => leads)
  leader?.socket.stop()
  server.finish('y')
  const rest = pages.filter((page) => page !== leader)
  await vi.waitFor(() => {
    for (const { rows } of rest) expect(rows.get('y')?.status).toBe('FINISHED')
  })
  expect(server.wires.at(-1)?.query).toBe('?e=e1&o=1')

  for (const { socket } of rest) socket.stop()
  await vi.waitFor(async () => {
    const { held, pending } = await locks.query()
    expect([held, pending]).toEqual([[], []])
  })
  expect([...a.toasts, ...b.toasts, ...c.toasts].toSorted()).toEqual(['x', 'y'])
})
