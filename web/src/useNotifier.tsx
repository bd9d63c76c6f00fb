import { useCallback, useEffect, useRef } from 'react'
import { toast } from 'sonner'
import { useLocation } from 'wouter'
import { Burst } from './burst'
import { ToastLink } from './components/ToastLink'
import { useLanguage } from './language/useLanguage'
import { notify } from './notify'
import type { Order } from './orders'

const READ_MS = 6_000
const READ_REASON_MS = 10_000

/**
 * Returns a function that reports the outcome of an order: a toast, or a browser notification while the page
 * is hidden.
 */
export function useNotifier() {
  const { text, format } = useLanguage()
  const [, navigate] = useLocation()
  const burst = useRef(new Burst(() => Date.now()))

  useEffect(() => () => void toast.dismiss(), [])

  return useCallback(
    ({ id, version, status, description, amount, reason }: Order) => {
      if (status === 'NEW') return
      const paid = status === 'FINISHED'
      const many = burst.current.add(paid)
      const { finished, cancelled } = many ?? { finished: Number(paid), cancelled: Number(!paid) }
      const show = cancelled === 0 ? toast.success : finished === 0 ? toast.error : toast
      const open = many ? '/' : `/orders/${id}`
      const title = many
        ? text.toasts.many(finished, cancelled)
        : paid
          ? text.toasts.finished
          : text.toasts.cancelled
      const what = `${description || text.orders.untitled}, ${format.money(amount)}`
      const words = paid ? what : `${what}. ${text.reason(reason)}`
      const key = many ? 'many' : `${id}:${version}`

      if (document.hidden && notify(title, many ? '' : words, key, () => navigate(open))) return
      show(<ToastLink href={open} title={title} id={key} />, {
        id: key,
        description: many ? undefined : words,
        duration: paid ? READ_MS : READ_REASON_MS,
      })
    },
    [text, format, navigate],
  )
}
