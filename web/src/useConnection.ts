/**
 * The connection of a page: one socket for all tabs of the user, each change told once a browser.
 *
 *     const connection = useConnection(api, {
 *       userId,
 *       onOrder: (order, receivedAt) => orders.take(order),
 *       onWelcome: (gapless) => orders.catchUp(gapless),
 *       onTell: (order) => (document.visibilityState === 'visible' ? toast : notify)(order),
 *     })
 *     const orders = useOrders(api, filter, connection.tell)
 *     // connection.state is to be shown, connection.connect is for the button.
 *
 * It stands before what reads the orders, so that it listens before they are read. `onOrder` and
 * `onWelcome` are called in every tab, so whatever every tab shows (rows, the balance) belongs there.
 * `onTell` is called in the one tab that shall show a toast or a notification. Pushed changes are told
 * by themselves; `tell` is for those found by reading the list again. Every tab may say the same.
 */
import { useCallback, useEffect, useEffectEvent, useRef, useState } from 'react'
import type { Api } from './api'
import { randomKey } from './intent'
import type { Order } from './orders'
import { SharedSocket, type Sharing } from './sharing'
import type { ConnectionState } from './socket'
import type { Clock } from './timer'
import { runWith } from './wake'

interface Listeners {
  userId: string
  onOrder: (order: Order, receivedAt: number) => void
  onWelcome: (gapless: boolean) => void
  onTell: (order: Order) => void
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
  const onTell = useEffectEvent(listeners.onTell)

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
      onTell: (order) => onTell(order),
    })
    socket.current = current
    return runWith(current, { window, document, clock })
  }, [api, userId])

  const connect = useCallback(() => socket.current?.connect(), [])
  const tell = useCallback((order: Order) => socket.current?.tell(order), [])
  return { state, connect, tell }
}

/** Plain http has no locks, but for this very machine. */
function sharing(): Sharing | null {
  if (!('locks' in navigator && 'BroadcastChannel' in window)) return null
  const { locks } = navigator
  return { locks, channel: (name) => new BroadcastChannel(name), newId: randomKey }
}

/** A computer without any network still reaches a shop that it runs itself. */
function isOnline(): boolean {
  return navigator.onLine || /^(localhost|127\.[0-9.]+|\[::1\])$/.test(location.hostname)
}

function socketAddress(query: string): string {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
  return `${scheme}://${location.host}/ws${query}`
}
