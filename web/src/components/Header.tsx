import { Link } from 'wouter'
import { useLanguage } from '../language/useLanguage'
import type { ConnectionState } from '../socket'
import { Connection } from './Connection'
import { LanguageSwitch } from './LanguageSwitch'
import { NotifyButton } from './NotifyButton'
import { Wordmark } from './Wordmark'

interface HeaderProps {
  userId: string
  onLeave: () => void
  connection: ConnectionState
  onConnect: () => void
}

const current = (active: boolean) => (active ? 'current' : '')

export function Header({ userId, onLeave, connection, onConnect }: HeaderProps) {
  const { text } = useLanguage()
  return (
    <header className="top">
      <a className="skip" href="#content">
        {text.nav.skip}
      </a>
      <Link href="/" className="home" aria-label={text.name}>
        <Wordmark />
      </Link>
      <nav aria-label={text.nav.label}>
        <Link href="/" className={current} data-testid="nav-shop">
          {text.nav.shop}
        </Link>
        <Link href="/behind" className={current} data-testid="nav-behind">
          {text.nav.behind}
        </Link>
        <a href="/api/docs">{text.nav.api}</a>
      </nav>
      <Connection state={connection} onConnect={onConnect} />
      <div className="about-me">
        <p className="shopper">
          <span>{text.user.shopping}</span> <b title={userId}>{userId}</b>{' '}
          <button type="button" className="link" onClick={onLeave} data-testid="change-user">
            {text.user.change}
          </button>
        </p>
        <NotifyButton />
        <LanguageSwitch />
      </div>
    </header>
  )
}
