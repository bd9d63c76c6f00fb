import type { Api } from '../api'
import { useLanguage } from '../language/useLanguage'
import { asProblem } from '../problem'
import type { useAccount } from '../useAccount'
import { useAction } from '../useAction'
import { Ledger } from './Ledger'
import { Price } from './Price'
import { ProblemNote } from './ProblemNote'
import { TopUp } from './TopUp'

interface AccountCardProps {
  api: Api
  account: ReturnType<typeof useAccount>
}

export function AccountCard({ api, account }: AccountCardProps) {
  const { text } = useLanguage()
  const { state, problem, refresh } = account
  const open = useAction(async () => {
    try {
      await api.openAccount()
    } catch (error) {
      // 409: the account was opened in another tab meanwhile.
      if (asProblem(error).status !== 409) throw error
    }
    await refresh()
  })

  return (
    <section className="card" aria-labelledby="account-title">
      <h2 id="account-title">{text.account.title}</h2>
      <ProblemNote problem={problem} onRetry={() => void refresh()} />
      {state.status === 'loading' && !problem && <p className="muted">{text.account.loading}</p>}
      {state.status === 'none' && (
        <>
          <p>{text.account.none}</p>
          <ProblemNote problem={open.problem} />
          <button
            type="button"
            className="primary"
            onClick={() => void open.act()}
            aria-disabled={open.busy}
            data-testid="open-account"
          >
            {open.busy ? text.account.opening : text.account.open}
          </button>
        </>
      )}
      {state.status === 'open' && (
        <>
          <p className="balance">
            <span className="muted">{text.account.balance}</span>
            {/* The key creates a new element for each balance, which starts the animation. */}
            <span key={state.balance} className="changed" data-testid="balance">
              <Price kopecks={state.balance} />
            </span>
          </p>
          <TopUp api={api} onDone={refresh} />
          <Ledger api={api} reading={state.reading} />
        </>
      )}
    </section>
  )
}
