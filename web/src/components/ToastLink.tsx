import { toast } from 'sonner'
import { Link } from 'wouter'

/** Reaches over its whole toast, so that a click anywhere on it opens the order. */
export function ToastLink({ href, title, id }: { href: string; title: string; id: string }) {
  return (
    <Link
      href={href}
      className="toast-link"
      onClick={() => void toast.dismiss(id)}
      data-testid="toast-link"
    >
      {title}
    </Link>
  )
}
