import { useEffect, useState } from 'react'
import type { Text } from '../language/en'
import { useLanguage } from '../language/useLanguage'
import type { ConnectionState } from '../socket'

export function Connection({
  state,
  onConnect,
}: {
  state: ConnectionState
  onConnect: () => void
}) {
  const { text } = useLanguage()
  const seconds = useSecondsUntil(state.phase === 'reconnecting' ? state.at : null)
  return (
    <div className="connection">
      <span className="pill" data-testid="connection" data-state={state.phase}>
        {label(state, seconds, text)}
      </span>
      {state.phase === 'live' && (
        <span className="replica">
          {text.connection.via} <span data-testid="replica">{state.replica}</span>
        </span>
      )}
      {state.phase === 'offline' && (
        <button type="button" onClick={onConnect} data-testid="reconnect">
          {text.connection.reconnect}
        </button>
      )}
    </div>
  )
}

function label(state: ConnectionState, seconds: number, { connection }: Text): string {
  if (state.phase === 'connecting') return connection.connecting
  if (state.phase === 'live') return connection.live
  if (state.phase === 'reconnecting') return connection.reconnecting(seconds)
  if (state.why === 'replaced') return connection.replaced
  if (state.why === 'refused') return connection.refused
  if (state.why === 'no-network') return connection.noNetwork
  return connection.offline
}

function useSecondsUntil(at: number | null): number {
  const [now, setNow] = useState(Date.now)

  useEffect(() => {
    if (at === null) return
    setNow(Date.now())
    const timer = setInterval(() => setNow(Date.now()), 250)
    return () => clearInterval(timer)
  }, [at])

  return at === null ? 0 : Math.max(1, Math.ceil((at - now) / 1000))
}
