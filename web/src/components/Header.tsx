import { Link, useRoute } from 'wouter'
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
        <Place href="/" name={text.nav.shop} testId="nav-shop" />
        <Place href="/behind" name={text.nav.behind} testId="nav-behind" />
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

function Place({ href, name, testId }: { href: string; name: string; testId: string }) {
  const [here] = useRoute(href)
  return (
    <Link href={href} aria-current={here ? 'page' : undefined} data-testid={testId}>
      {name}
    </Link>
  )
}
