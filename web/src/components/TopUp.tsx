import { type FormEvent, useState } from 'react'
import type { Api } from '../api'
import { Intent } from '../intent'
import { useLanguage } from '../language/useLanguage'
import { amountForInput, parseAmount } from '../money'
import { fieldText } from '../problem'
import { useAction } from '../useAction'
import { Field } from './Field'
import { ProblemNote } from './ProblemNote'

const quickAmounts = [50_000, 100_000, 500_000]

export function TopUp({ api, onDone }: { api: Api; onDone: () => Promise<void> }) {
  const { text, format } = useLanguage()
  const [amount, setAmount] = useState('')
  const [error, setError] = useState('')
  const [intent] = useState(() => new Intent())

  const topUp = useAction(async (kopecks: number) => {
    await api.topUp(kopecks, intent.keyFor(kopecks))
    intent.settled()
    setAmount((now) => (now === amount ? '' : now))
    await onDone()
  })

  function change(value: string) {
    setAmount(value)
    setError('')
  }

  function submit(event: FormEvent) {
    event.preventDefault()
    if (amount === '' && topUp.justDone()) return
    const parsed = parseAmount(amount)
    if (parsed.ok) void topUp.act(parsed.kopecks)
    else setError(text.amount[parsed.error])
  }

  return (
    <form className="top-up" onSubmit={submit} noValidate>
      <fieldset className="quick">
        <legend className="visually-hidden">{text.account.quick}</legend>
        {quickAmounts.map((kopecks) => (
          <button type="button" key={kopecks} onClick={() => change(amountForInput(kopecks))}>
            {format.wholeMoney(kopecks)}
          </button>
        ))}
      </fieldset>
      <div className="row">
        <Field
          label={text.account.amount}
          value={amount}
          onChange={change}
          error={error || fieldText(topUp.problem, 'amount', text)}
          testId="top-up-amount"
          inputMode="decimal"
        />
        <button type="submit" aria-disabled={topUp.busy} data-testid="top-up">
          {topUp.busy ? text.account.toppingUp : text.account.topUp}
        </button>
      </div>
      <ProblemNote problem={topUp.problem} beside={['amount']} />
    </form>
  )
}
