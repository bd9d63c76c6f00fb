// Runs in each page before the page's own scripts and notes what may be gone before a test looks.
window.witness = { toasts: [], violations: [] }

document.addEventListener('securitypolicyviolation', (event) => {
  witness.violations.push(`${event.effectiveDirective} ${event.blockedURI}`)
})

function note(node) {
  if (!(node instanceof Element)) return
  const toasts = node.matches('[data-sonner-toast]') ? [node] : node.querySelectorAll('[data-sonner-toast]')
  for (const toast of toasts) witness.toasts.push(toast.innerText)
}

new MutationObserver((changes) => {
  for (const { addedNodes } of changes) addedNodes.forEach(note)
}).observe(document, { childList: true, subtree: true })
