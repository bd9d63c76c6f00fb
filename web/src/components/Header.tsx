import type { ConnectionState } from '../socket'
import { text } from '../text'
import { Connection } from './Connection'
import { Wordmark } from './Wordmark'

interface HeaderProps {
  userId: string
  onLeave: () => void
  connection: ConnectionState
  onConnect: () => void
}

export function Header({ userId, onLeave, connection, onConnect }: HeaderProps) {
  return (
    <header className="top">
      <h1>
        <Wordmark />
      </h1>
      <Connection state={connection} onConnect={onConnect} />
      <p className="shopper">
        <span>{text.user.shopping}</span> <b title={userId}>{userId}</b>{' '}
        <button type="button" className="link" onClick={onLeave} data-testid="change-user">
          {text.user.change}
        </button>
      </p>
    </header>
  )
}
