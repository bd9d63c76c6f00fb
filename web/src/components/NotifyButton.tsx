import { useState } from 'react'
import { useLanguage } from '../language/useLanguage'
import { askToNotify, mayNotify } from '../notify'

export function NotifyButton() {
  const { text } = useLanguage()
  const [permission, setPermission] = useState(mayNotify)
  if (permission === 'unsupported') return null
  const label = {
    default: text.notify.ask,
    granted: text.notify.on,
    denied: text.notify.denied,
  }[permission]

  return (
    <button
      type="button"
      className="bell"
      data-permission={permission}
      aria-label={label}
      title={label}
      aria-disabled={permission !== 'default'}
      onClick={() => void askToNotify().then(setPermission)}
      data-testid="notify"
    >
      <svg viewBox="0 0 24 24" aria-hidden="true">
        <path d="M12 3a6 6 0 0 0-6 6v4l-2 4h16l-2-4V9a6 6 0 0 0-6-6Zm-2.5 16a2.6 2.6 0 0 0 5 0" />
        {permission === 'denied' && <path d="M4 4l16 16" />}
      </svg>
    </button>
  )
}
