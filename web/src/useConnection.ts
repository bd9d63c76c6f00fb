import { useEffect, useEffectEvent, useRef, useState } from 'react'
import type { Api } from './api'
import type { Order } from './orders'
import { type ConnectionState, PushSocket } from './socket'

interface Listeners {
  onOrder: (order: Order) => void
  onWelcome: (recovered: boolean) => void
}

export function useConnection(api: Api, listeners: Listeners) {
  const [state, setState] = useState<ConnectionState>({ phase: 'connecting' })
  const socket = useRef<PushSocket | null>(null)
  const onOrder = useEffectEvent(listeners.onOrder)
  const onWelcome = useEffectEvent(listeners.onWelcome)

  useEffect(() => {
    const current = new PushSocket({
      ticket: api.ticket,
      open: (query, protocols) => new WebSocket(socketAddress(query), protocols),
      clock: {
        now: () => Date.now(),
        setTimeout: (run, ms) => window.setTimeout(run, ms),
        clearTimeout: (handle) => window.clearTimeout(handle),
      },
      random: Math.random,
      online: () => true,
      onState: setState,
      onOrder: (order) => onOrder(order),
      onWelcome: (recovered) => onWelcome(recovered),
    })
    socket.current = current
    current.connect()
    return () => current.stop()
  }, [api])

  useEffect(() => {
    // Only a wait is cut short: one that was told to stay away is asked back by its button.
    if (state.phase !== 'reconnecting') return
    const connect = () => socket.current?.connect()
    window.addEventListener('online', connect)
    return () => window.removeEventListener('online', connect)
  }, [state.phase])

  return { state, connect: () => socket.current?.connect() }
}

function socketAddress(query: string): string {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
  return `${scheme}://${location.host}/ws${query}`
}
