import type { Problem } from '../api'
import { text } from '../text'

interface ProblemNoteProps {
  problem: Problem | null
  /** Fields that show their errors themselves. */
  beside?: readonly string[]
  onRetry?: () => void
}

export function ProblemNote({ problem, beside = [], onRetry }: ProblemNoteProps) {
  if (!problem) return null
  const rest = problem.fields.filter(({ field }) => !beside.includes(field))
  return (
    <div className="problem" role="alert">
      <strong>{problem.title}</strong>
      {problem.detail && <p>{problem.detail}</p>}
      {rest.length > 0 && (
        <ul>
          {rest.map(({ field, message }) => (
            <li key={`${field} ${message}`}>
              {field}: {message}
            </li>
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

export function fieldError(problem: Problem | null, field: string): string | undefined {
  return problem?.fields.find((error) => error.field === field)?.message
}
