import 'uplot/dist/uPlot.min.css'
import { useEffect, useRef } from 'react'
import uPlot from 'uplot'
import { useLanguage } from '../language/useLanguage'

export interface Series {
  name: string
  values: readonly (number | null)[]
}

const HEIGHT = 150
// CSS variables of the colours, by position of the series. The style sheet sets them for both themes.
const inks = ['--spruce', '--mandarin', '--dusk']

function ink(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name)
}

interface ChartProps {
  title: string
  /** Seconds since 1970, one for each value. */
  times: readonly number[]
  series: readonly Series[]
  testId: string
}

export function Chart({ title, times, series, testId }: ChartProps) {
  const { text, format } = useLanguage()
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const count = series.length

  useEffect(() => {
    const element = place.current
    if (!element) return
    const drawn = new uPlot(options(element.clientWidth, count), [[]], element)
    plot.current = drawn
    const observer = new ResizeObserver(() =>
      drawn.setSize({ width: element.clientWidth, height: HEIGHT }),
    )
    observer.observe(element)
    return () => {
      observer.disconnect()
      drawn.destroy()
      plot.current = null
    }
  }, [count])

  useEffect(() => {
    const data = [[...times], ...series.map(({ values }) => [...values])]
    plot.current?.setData(data as uPlot.AlignedData)
  }, [times, series])

  const now = series.map(({ name, values }) => {
    const value = values.at(-1)
    return { name, value: value == null ? text.behind.unknown : format.number(value) }
  })
  const spoken = now.map(({ name, value }) => `${name} ${value}`).join(', ')
  return (
    <figure className="card chart" data-testid={testId}>
      <figcaption>{title}</figcaption>
      <ul>
        {now.map(({ name, value }) => (
          <li key={name}>
            {name} <b>{value}</b>
          </li>
        ))}
      </ul>
      <div ref={place} role="img" aria-label={text.behind.chart(title, spoken)} />
    </figure>
  )
}

function options(width: number, count: number): uPlot.Options {
  const axis = {
    stroke: () => ink('--muted'),
    grid: { stroke: () => ink('--line'), width: 1 },
    ticks: { show: false },
    font: '12px "Golos Text Variable", system-ui, sans-serif',
  }
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] } },
    axes: [
      {
        ...axis,
        values: [[1, '{HH}:{mm}:{ss}', ...Array(6).fill(null), 1]] as uPlot.Axis.Values,
        space: 90,
        size: 28,
      },
      { ...axis, size: 56 },
    ],
    series: [
      {},
      ...inks.slice(0, count).map((name) => ({
        stroke: () => ink(name),
        width: 2,
        points: { show: false },
      })),
    ],
  }
}
