// Runs in each page before the page's own scripts. It records events that a test would otherwise come too late to see.
window.witness = { toasts: [], titles: [], violations: [], sockets: 0, shifts: [] }

document.addEventListener('securitypolicyviolation', (event) => {
  witness.violations.push(`${event.effectiveDirective} ${event.blockedURI}`)
})

function noteToasts(node) {
  if (!(node instanceof Element)) return
  const toasts = node.matches('[data-sonner-toast]') ? [node] : node.querySelectorAll('[data-sonner-toast]')
  for (const toast of toasts) {
    witness.toasts.push(toast.innerText)
    witness.titles.push(toast.querySelector('.toast-link').innerText)
  }
}

function noteNewTitle(text) {
  const title = text.parentElement?.closest('.toast-link')
  if (title) witness.titles.push(title.innerText)
}

new MutationObserver((changes) => {
  for (const { type, target, addedNodes } of changes) {
    if (type === 'characterData') noteNewTitle(target)
    else addedNodes.forEach(noteToasts)
  }
}).observe(document, { childList: true, characterData: true, subtree: true })

new PerformanceObserver((list) => {
  for (const { value, hadRecentInput, sources } of list.getEntries()) {
    if (!hadRecentInput) witness.shifts.push([value, ...sources.map(({ node }) => node?.className ?? '')])
  }
}).observe({ type: 'layout-shift', buffered: true })

window.WebSocket = class extends WebSocket {
  constructor(...args) {
    super(...args)
    witness.sockets++
  }
}
