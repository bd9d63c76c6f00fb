import { toast } from 'sonner'
import { Link } from 'wouter'

/** A link that covers its whole toast, so that a click anywhere opens the order. */
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
