import { useLanguage } from '../language/useLanguage'
import { type Problem, problemText } from '../problem'

interface ProblemNoteProps {
  problem: Problem | null
  /** The fields that show their own errors. */
  beside?: readonly string[]
  onRetry?: () => void
}

export function ProblemNote({ problem, beside = [], onRetry }: ProblemNoteProps) {
  const { text } = useLanguage()
  if (!problem) return null
  const rest = problem.fields.filter(({ field }) => !beside.includes(field))
  return (
    <div className="problem" role="alert">
      <strong>{text.problem.title}</strong>
      <p>{problemText(problem, text)}</p>
      {rest.length > 0 && (
        <ul>
          {rest.map(({ field }) => (
            <li key={field}>{text.field.other(field)}</li>
          ))}
        </ul>
      )}
      {onRetry && (
        <button type="button" onClick={onRetry}>
          {text.problem.retry}
        </button>
      )}
    </div>
  )
}
