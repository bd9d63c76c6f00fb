import { Link } from 'wouter'

/** Reaches over its whole toast, so that a click anywhere on it opens the order. */
export function ToastLink({ href, title }: { href: string; title: string }) {
  return (
    <Link href={href} className="toast-link" data-testid="toast-link">
      {title}
    </Link>
  )
}
