import { useState } from 'react'
import { Link } from 'wouter'
import type { Api, LedgerEntry } from '../api'
import { useLanguage } from '../language/useLanguage'
import { useLedger } from '../useLedger'
import { ProblemNote } from './ProblemNote'

export function Ledger({ api, reading }: { api: Api; reading: number }) {
  const { text } = useLanguage()
  const [open, setOpen] = useState(false)
  return (
    <details
      className="ledger"
      onToggle={(event) => setOpen(event.currentTarget.open)}
      data-testid="ledger"
    >
      <summary>{text.ledger.title}</summary>
      {open && <Entries api={api} reading={reading} />}
    </details>
  )
}

function Entries({ api, reading }: { api: Api; reading: number }) {
  const { text } = useLanguage()
  const { entries, problem, refresh, older, hasOlder } = useLedger(api, reading)
  return (
    <>
      <ProblemNote problem={problem} onRetry={() => void refresh()} />
      {!problem && !entries && <p className="muted">{text.ledger.loading}</p>}
      {entries?.length === 0 && <p className="muted">{text.ledger.empty}</p>}
      <ol>
        {entries?.map((entry) => (
          <Entry key={entry.id} entry={entry} />
        ))}
      </ol>
      <ProblemNote problem={older.problem} />
      {hasOlder && (
        <button type="button" onClick={() => void older.act()} aria-disabled={older.busy}>
          {text.ledger.older}
        </button>
      )}
    </>
  )
}

function Entry({ entry }: { entry: LedgerEntry }) {
  const { text, format } = useLanguage()
  const { kind, amount, balance_after, created_at, order_id } = entry
  return (
    <li data-testid="entry" data-kind={kind}>
      {order_id ? (
        <Link href={`/orders/${order_id}`} title={text.ledger.order}>
          {text.ledger.kind[kind]}
        </Link>
      ) : (
        <span>{text.ledger.kind[kind]}</span>
      )}
      <span className={amount > 0 ? 'price credit' : 'price'}>{format.signedMoney(amount)}</span>
      <time className="when" dateTime={created_at}>
        {format.moment(new Date(created_at))}
      </time>
      <span className="when">{text.ledger.balanceAfter(format.money(balance_after))}</span>
    </li>
  )
}
