import type { OrderWithJourney } from '../api'
import { steps } from '../journey'
import { useLanguage } from '../language/useLanguage'

interface JourneyProps {
  order: OrderWithJourney
  shownAt: number | undefined
}

export function Journey({ order, shownAt }: JourneyProps) {
  const { text, format } = useLanguage()
  const shown = shownAt && {
    hop: 'shown',
    replica: text.journey.here,
    at: new Date(shownAt).toISOString(),
  }
  const way = steps(order.journey, shown || undefined)
  const updated = way.find(({ hop }) => hop === 'updated')
  if (way.length === 0) return null
  return (
    <section className="card" aria-labelledby="journey-title">
      <h2 id="journey-title">{text.journey.title}</h2>
      {updated && <p data-testid="took">{text.journey.took(format.number(updated.since))}</p>}
      <ol className="journey">
        {way.map(({ hop, replica, since, from, to }) => (
          <li key={hop} data-testid="hop" data-hop={hop}>
            <span className="hop">{text.journey.hop[hop] ?? hop}</span>
            <span className="by">{replica}</span>
            <span className="since">{text.journey.step(format.change(since))}</span>
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
