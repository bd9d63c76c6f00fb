export type Permission = NotificationPermission | 'unsupported'

export function mayNotify(): Permission {
  return 'Notification' in window ? Notification.permission : 'unsupported'
}

/** Browsers ask the person only on a click. */
export async function askToNotify(): Promise<Permission> {
  return mayNotify() === 'default' ? Notification.requestPermission() : mayNotify()
}

/** Whether the browser took it. One with the same `tag` takes the place of the one before. */
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
    // Chrome on Android wants a service worker for it. The toast is still there when the page is seen.
    return false
  }
}
