import { type FormEvent, useState } from 'react'
import { useLanguage } from '../language/useLanguage'
import { inventUserId, isUserId } from '../userId'
import { Field } from './Field'
import { LanguageSwitch } from './LanguageSwitch'
import { entered } from './View'
import { Wordmark } from './Wordmark'

export function ChooseUser({ onChoose }: { onChoose: (userId: string) => void }) {
  const { text } = useLanguage()
  const [userId, setUserId] = useState('')
  const [error, setError] = useState('')

  function submit(event: FormEvent) {
    event.preventDefault()
    const chosen = userId.trim()
    if (!isUserId(chosen)) return setError(text.welcome.invalid)
    entered()
    onChoose(chosen)
  }

  function change(value: string) {
    setUserId(value)
    setError('')
  }

  return (
    <main className="door">
      <title>{text.name}</title>
      <div className="sign">
        <Wordmark />
        <LanguageSwitch />
      </div>
      <h1>{text.welcome.title}</h1>
      <p className="lead">{text.welcome.lead}</p>
      <form onSubmit={submit} noValidate>
        <Field
          label={text.welcome.label}
          hint={text.welcome.hint}
          value={userId}
          onChange={change}
          error={error}
          testId="user-id-input"
          autoComplete="username"
          plain
        />
        <div className="actions">
          <button type="submit" className="primary" data-testid="choose-user">
            {text.welcome.enter}
          </button>
          <button type="button" onClick={() => change(inventUserId())}>
            {text.welcome.invent}
          </button>
        </div>
      </form>
    </main>
  )
}
