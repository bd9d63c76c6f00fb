import { Component, type ReactNode } from 'react'
import { asProblem } from '../problem'
import { ProblemNote } from './ProblemNote'

/** Shows an error instead of a blank page, for example if a script of an older release was deleted. */
export class Boundary extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: null }

  static getDerivedStateFromError(error: unknown) {
    return { error }
  }

  override render() {
    const { error } = this.state
    if (error === null) return this.props.children
    return (
      <main className="view">
        <ProblemNote problem={asProblem(error)} onRetry={() => location.reload()} />
      </main>
    )
  }
}
