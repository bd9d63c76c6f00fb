import { type ReactNode, useEffect, useRef } from 'react'
import { useLanguage } from '../language/useLanguage'

interface ViewProps {
  title: string
  children: ReactNode
  className?: string
  /** The heading is for those who cannot see the page. */
  hidden?: boolean
  /** Stands before the heading. */
  above?: ReactNode
}

let first = true

/** The shopper came through the door, so the next page is one they went to. */
export function entered() {
  first = false
}

// Going back, the browser scrolls to where the shopper was.
let back = false
addEventListener('popstate', () => {
  back = true
})

/** One page of the shop. Coming to it, a keyboard or a screen reader starts at its heading. */
export function View({ title, children, className = 'view', hidden, above }: ViewProps) {
  const { text } = useLanguage()
  const heading = useRef<HTMLHeadingElement>(null)

  useEffect(() => {
    if (first) first = false
    else heading.current?.focus({ preventScroll: true })
    if (!back) scrollTo(0, 0)
    back = false
  }, [])

  return (
    <main id="content" className={className}>
      <title>{`${title} · ${text.name}`}</title>
      {above}
      <h1 ref={heading} tabIndex={-1} className={hidden ? 'visually-hidden' : undefined}>
        {title}
      </h1>
      {children}
    </main>
  )
}
