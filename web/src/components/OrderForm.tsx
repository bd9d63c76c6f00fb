import { type FormEvent, useState } from 'react'
import type { Api, NewOrder } from '../api'
import type { Good } from '../goods'
import { Intent } from '../intent'
import { useLanguage } from '../language/useLanguage'
import { amountForInput, parseAmount } from '../money'
import type { Order } from '../orders'
import { fieldText } from '../problem'
import { useAction } from '../useAction'
import { Field } from './Field'
import { ProblemNote } from './ProblemNote'
import { Shelf } from './Shelf'

export function OrderForm({ api, onPlaced }: { api: Api; onPlaced: (order: Order) => void }) {
  const { text } = useLanguage()
  const [amount, setAmount] = useState('')
  const [description, setDescription] = useState('')
  const [error, setError] = useState('')
  const [intent] = useState(() => new Intent())

  const place = useAction(async (order: NewOrder) => {
    const placed = await api.placeOrder(order, intent.keyFor(order))
    intent.settled()
    // If the shopper has typed during the request, the text belongs to the next order and stays.
    setAmount((now) => (now === amount ? '' : now))
    setDescription((now) => (now === description ? '' : now))
    onPlaced(placed)
  })

  function changeAmount(value: string) {
    setAmount(value)
    setError('')
  }

  function take(good: Good) {
    changeAmount(amountForInput(good.kopecks))
    setDescription(text.goods[good.name])
  }

  function submit(event: FormEvent) {
    event.preventDefault()
    if (amount === '' && place.justDone()) return
    const parsed = parseAmount(amount)
    if (parsed.ok) void place.act({ amount: parsed.kopecks, description: description.trim() })
    else setError(text.amount[parsed.error])
  }

  return (
    <section className="card" aria-labelledby="shelf-title">
      <Shelf onTake={take} />
      <form className="order" onSubmit={submit} noValidate aria-label={text.order.title}>
        <Field
          label={text.order.description}
          value={description}
          onChange={setDescription}
          error={fieldText(place.problem, 'description', text)}
          testId="order-description"
        />
        <Field
          label={text.order.amount}
          value={amount}
          onChange={changeAmount}
          error={error || fieldText(place.problem, 'amount', text)}
          testId="order-amount"
          inputMode="decimal"
        />
        <ProblemNote problem={place.problem} beside={['amount', 'description']} />
        <button
          type="submit"
          className="primary"
          aria-disabled={place.busy}
          data-testid="place-order"
        >
          {place.busy ? text.order.placing : text.order.place}
        </button>
      </form>
    </section>
  )
}
