import { useEffect, useState } from 'react'
import type { ConnectionState } from '../socket'
import { text } from '../text'

export function Connection({
  state,
  onConnect,
}: {
  state: ConnectionState
  onConnect: () => void
}) {
  const seconds = useSecondsUntil(state.phase === 'reconnecting' ? state.at : null)
  return (
    <div className="connection">
      <span className="pill" data-testid="connection" data-state={state.phase}>
        {text.connection.label(state, seconds)}
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
