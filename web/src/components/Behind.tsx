import { useMemo } from 'react'
import type { Api } from '../api'
import type { Figures } from '../figures'
import { useLanguage } from '../language/useLanguage'
import type { Order } from '../orders'
import { useFigures } from '../useFigures'
import type { useRush } from '../useRush'
import { Chart } from './Chart'
import { Replicas } from './Replicas'
import { Rush } from './Rush'

interface BehindProps {
  api: Api
  rush: ReturnType<typeof useRush>
  rows: readonly Order[]
}

export default function Behind({ api, rush, rows }: BehindProps) {
  const { text } = useLanguage()
  const { state, history } = useFigures(api)
  const last = history.at(-1)

  return (
    <>
      <p className="lead">{text.behind.lead}</p>
      <Rush rush={rush} rows={rows} />
      {state === 'off' && <p data-testid="behind-off">{text.behind.off}</p>}
      {state === 'loading' && <p className="muted">{text.behind.loading}</p>}
      {state === 'stale' && (
        <p className="problem" role="alert">
          {text.behind.stale}
        </p>
      )}
      {last && (
        <div className="charts" data-testid="charts">
          <Charts history={history} />
          <Replicas replicas={last.replicas} />
        </div>
      )}
    </>
  )
}

function Charts({ history }: { history: readonly Figures[] }) {
  const {
    text: { behind },
  } = useLanguage()
  const times = useMemo(() => history.map(({ at }) => at), [history])
  const series = useMemo(() => {
    const of = (name: string, value: (figures: Figures) => number | null | undefined) => ({
      name,
      values: history.map((figures) => value(figures) ?? null),
    })
    return {
      rate: [of(behind.accepted, (f) => f.accepted), of(behind.decided, (f) => f.decided)],
      latency: [of(behind.median, (f) => f.median), of(behind.slowest, (f) => f.slowest)],
      waiting: [
        of(behind.ordersOutbox, (f) => f.waiting.orders_outbox),
        of(behind.paymentsInbox, (f) => f.waiting.payments_inbox),
        of(behind.paymentsOutbox, (f) => f.waiting.payments_outbox),
      ],
      queues: (history.at(-1)?.queues ?? []).map(({ name }) =>
        of(name, (f) => f.queues.find((queue) => queue.name === name)?.messages),
      ),
      delivered: [of(behind.delivered, (f) => f.delivered)],
    }
  }, [history, behind])

  return (
    <>
      <Chart title={behind.perSecond} times={times} series={series.rate} testId="chart-rate" />
      <Chart title={behind.latency} times={times} series={series.latency} testId="chart-latency" />
      <Chart title={behind.waiting} times={times} series={series.waiting} testId="chart-waiting" />
      <Chart title={behind.queues} times={times} series={series.queues} testId="chart-queues" />
      <Chart title={behind.toasts} times={times} series={series.delivered} testId="chart-toasts" />
    </>
  )
}
