/**
 * The connection of a page: one socket for all tabs of the user, and one notification per change in each
 * browser.
 *
 *     const connection = useConnection(api, {
 *       userId,
 *       onOrder: (order, receivedAt) => orders.take(order),
 *       onWelcome: (gapless) => orders.catchUp(gapless),
 *       onNotify: (order) => (document.visibilityState === 'visible' ? toast : notify)(order),
 *     })
 *     const orders = useOrders(api, filter, connection.notify)
 *     // The page shows connection.state, and its button calls connection.connect.
 *
 * The hook must come before the hook that reads the orders, so that it listens before they are read. `onOrder`
 * and `onWelcome` are called in every tab, and update what every tab shows: the rows and the balance.
 * `onNotify` is called in one tab, which must show a toast or a notification. Pushed changes need no further
 * call. For a change that was found by reading the list again, call `notify`. Every tab can report the same
 * change.
 */
import { useCallback, useEffect, useEffectEvent, useRef, useState } from 'react'
import type { Api } from './api'
import { randomKey } from './intent'
import type { Order } from './orders'
import { SharedSocket, type Sharing } from './sharing'
import type { ConnectionState } from './socket'
import type { Clock } from './timer'
import { runForPage } from './wake'

interface Listeners {
  userId: string
  onOrder: (order: Order, receivedAt: number) => void
  onWelcome: (gapless: boolean) => void
  onNotify: (order: Order) => void
}

const clock: Clock = {
  now: () => Date.now(),
  setTimeout: (run, ms) => window.setTimeout(run, ms),
  clearTimeout: (handle) => window.clearTimeout(handle),
}

export function useConnection(api: Api, listeners: Listeners) {
  const { userId } = listeners
  const [state, setState] = useState<ConnectionState>({ phase: 'connecting' })
  const socket = useRef<SharedSocket | null>(null)
  const onOrder = useEffectEvent(listeners.onOrder)
  const onWelcome = useEffectEvent(listeners.onWelcome)
  const onNotify = useEffectEvent(listeners.onNotify)

  useEffect(() => {
    const current = new SharedSocket({
      userId,
      sharing: sharing(),
      ticket: api.ticket,
      open: (query, protocols) => new WebSocket(socketAddress(query), protocols),
      clock,
      random: Math.random,
      online: isOnline,
      isVisible: () => document.visibilityState === 'visible',
      isFocused: () => document.hasFocus(),
      onState: setState,
      onOrder: (...message) => onOrder(...message),
      onWelcome: (gapless) => onWelcome(gapless),
      onNotify: (order) => onNotify(order),
    })
    socket.current = current
    return runForPage(current, { window, document, clock })
  }, [api, userId])

  const connect = useCallback(() => socket.current?.connect(), [])
  const notify = useCallback((order: Order) => socket.current?.notify(order), [])
  return { state, connect, notify }
}

/** Returns null without Web Locks, which browsers offer only over https and on localhost. */
function sharing(): Sharing | null {
  if (!('locks' in navigator && 'BroadcastChannel' in window)) return null
  const { locks } = navigator
  return { locks, channel: (name) => new BroadcastChannel(name), newId: randomKey }
}

/** A shop on the same computer is reachable without a network. */
function isOnline(): boolean {
  return navigator.onLine || /^(localhost|127\.[0-9.]+|\[::1\])$/.test(location.hostname)
}

function socketAddress(query: string): string {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
  return `${scheme}://${location.host}/ws${query}`
}
