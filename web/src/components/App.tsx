import { useState } from 'react'
import { Toaster } from 'sonner'
import { text } from '../text'
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
    <>
      {userId === null ? (
        <ChooseUser onChoose={choose} />
      ) : (
        <Shop key={userId} userId={userId} onLeave={() => choose(null)} />
      )}
      <div role="status" aria-atomic="false">
        <Toaster
          theme="system"
          closeButton
          containerAriaLabel={text.toasts.region}
          toastOptions={{ closeButtonAriaLabel: text.toasts.close }}
        />
      </div>
    </>
  )
}
