import type { OrderWithJourney } from '../api'
import { steps } from '../journey'
import { useLanguage } from '../language/useLanguage'

export function Journey({ order }: { order: OrderWithJourney }) {
  const { text, format } = useLanguage()
  const way = steps(order.journey)
  const last = way.at(-1)
  if (!last) return null
  return (
    <section className="card" aria-labelledby="journey-title">
      <h2 id="journey-title">{text.journey.title}</h2>
      {last.hop === 'updated' && (
        <p data-testid="took">{text.journey.took(format.number(last.since))}</p>
      )}
      <ol className="journey">
        {way.map(({ hop, replica, since, from, to }) => (
          <li key={hop} data-testid="hop" data-hop={hop}>
            <span className="hop">{text.journey.hop[hop] ?? hop}</span>
            <span className="by">{replica}</span>
            <span className="since">{text.journey.step(format.number(since))}</span>
            <span
              className="stretch"
              style={{ marginInlineStart: `${from * 100}%`, width: `${(to - from) * 100}%` }}
            />
          </li>
        ))}
      </ol>
      <p className="muted">{text.journey.lead}</p>
    </section>
  )
}
