import { type ReactNode, useEffect, useRef } from 'react'
import { useLanguage } from '../language/useLanguage'

interface ViewProps {
  title: string
  children: ReactNode
  className?: string
  /** Hides the heading visually. Screen readers still read it. */
  hidden?: boolean
  /** Shown before the heading. */
  above?: ReactNode
}

let first = true

/**
 * Called when the shopper has chosen a user id: the next page is a navigation, and its heading gets the focus.
 */
export function entered() {
  first = false
}

// After going back, the browser restores the scroll position itself.
let back = false
addEventListener('popstate', () => {
  back = true
})

/** One page of the shop. After a navigation, its heading gets the focus, for keyboards and screen readers. */
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
