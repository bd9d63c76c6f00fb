export type Permission = NotificationPermission | 'unsupported'

export function mayNotify(): Permission {
  return 'Notification' in window ? Notification.permission : 'unsupported'
}

/** Asks for permission. Browsers allow this only after a click. */
export async function askToNotify(): Promise<Permission> {
  return mayNotify() === 'default' ? Notification.requestPermission() : mayNotify()
}

/** Shows a notification, which replaces one with the same `tag`. Returns whether the browser has shown it. */
export function notify(title: string, body: string, tag: string, onClick: () => void): boolean {
  if (mayNotify() !== 'granted') return false
  try {
    const shown = new Notification(title, { body, tag, icon: '/favicon.svg' })
    shown.onclick = () => {
      window.focus()
      shown.close()
      onClick()
    }
    return true
  } catch {
    // Chrome on Android allows notifications only from a service worker. The caller then shows a toast.
    return false
  }
}
