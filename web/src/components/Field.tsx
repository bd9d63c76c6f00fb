import { useId } from 'react'

interface FieldProps {
  label: string
  value: string
  onChange: (value: string) => void
  error?: string | undefined
  hint?: string
  testId: string
  inputMode?: 'text' | 'decimal'
  autoComplete?: string
  /** Turns off autocapitalisation and spell checking. */
  plain?: boolean
}

export function Field(props: FieldProps) {
  const { label, value, onChange, error, hint, testId } = props
  const id = useId()
  const noteId = `${id}-note`
  const note = error || hint
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        value={value}
        onChange={(event) => onChange(event.target.value)}
        aria-invalid={error ? true : undefined}
        aria-describedby={note ? noteId : undefined}
        data-testid={testId}
        inputMode={props.inputMode}
        autoComplete={props.autoComplete ?? 'off'}
        autoCapitalize={props.plain ? 'none' : undefined}
        spellCheck={props.plain ? false : undefined}
      />
      {note && (
        <p
          id={noteId}
          className={error ? 'field-error' : 'field-hint'}
          role={error ? 'alert' : undefined}
        >
          {note}
        </p>
      )}
    </div>
  )
}
