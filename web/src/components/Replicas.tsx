import type { Snapshot } from '../api'
import { useLanguage } from '../language/useLanguage'

type Replica = Snapshot['replicas'][number]

/** Lists the replicas, and the number of sockets of each notifier. */
export function Replicas({ replicas }: { replicas: readonly Replica[] }) {
  const { text } = useLanguage()
  const most = Math.max(1, ...replicas.map((replica) => socketsOf(replica) ?? 0))
  return (
    <section className="card replicas" aria-labelledby="replicas-title">
      <h2 id="replicas-title">{text.behind.replicas}</h2>
      <ul>
        {replicas.map((replica) => (
          <li key={replica.name} data-testid="replica-row">
            <span>{replica.name}</span>
            <Sockets count={socketsOf(replica)} most={most} />
          </li>
        ))}
      </ul>
    </section>
  )
}

const socketsOf = (replica: Replica) =>
  replica.service === 'notifier' ? replica.sockets : undefined

function Sockets({ count, most }: { count: number | undefined; most: number }) {
  const { text, format } = useLanguage()
  if (count === undefined) return null
  return (
    <>
      <span className="bar" style={{ width: `${(count / most) * 100}%` }} />
      <b>
        {format.number(count)} {text.behind.socketsNow(count)}
      </b>
    </>
  )
}
