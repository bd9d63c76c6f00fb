import { useState } from 'react'
import { Toaster } from 'sonner'
import { LanguageProvider, useLanguage } from '../language/useLanguage'
import { recallUserId, rememberUserId } from '../userId'
import { ChooseUser } from './ChooseUser'
import { Shop } from './Shop'

export function App() {
  const [userId, setUserId] = useState(recallUserId)

  function choose(next: string | null) {
    rememberUserId(next)
    setUserId(next)
  }

  return (
    <LanguageProvider>
      {userId === null ? (
        <ChooseUser onChoose={choose} />
      ) : (
        <Shop key={userId} userId={userId} onLeave={() => choose(null)} />
      )}
      <Toasts />
    </LanguageProvider>
  )
}

function Toasts() {
  const { text } = useLanguage()
  return (
    <div role="status" aria-atomic="false">
      <Toaster
        theme="system"
        closeButton
        containerAriaLabel={text.toasts.region}
        toastOptions={{ closeButtonAriaLabel: text.toasts.close }}
      />
    </div>
  )
}
