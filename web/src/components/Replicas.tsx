import type { Snapshot } from '../api'
import { useLanguage } from '../language/useLanguage'

type Replica = Snapshot['replicas'][number]

/** Who is there, and how many sockets each notifier holds. */
export function Replicas({ replicas }: { replicas: readonly Replica[] }) {
  const { text, format } = useLanguage()
  const most = Math.max(1, ...replicas.map(({ sockets }) => sockets ?? 0))
  return (
    <section className="card replicas" aria-labelledby="replicas-title">
      <h2 id="replicas-title">{text.behind.replicas}</h2>
      <ul>
        {replicas.map(({ name, sockets }) => (
          <li key={name} data-testid="replica-row">
            <span>{name}</span>
            {sockets !== undefined && (
              <>
                <span className="bar" style={{ width: `${(sockets / most) * 100}%` }} />
                <b>
                  {format.number(sockets)} {text.behind.socketsNow(sockets)}
                </b>
              </>
            )}
          </li>
        ))}
      </ul>
    </section>
  )
}
