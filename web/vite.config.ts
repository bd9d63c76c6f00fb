import react from '@vitejs/plugin-react'
import type { Plugin } from 'vite'
import { defineConfig } from 'vitest/config'

// At import, sonner adds its style sheet as a <style> element, which the policy "style-src 'self'" forbids. The
// same style sheet is bundled from sonner/dist/styles.css, so this plugin removes the call.
function sonnerWithoutStyleElement(): Plugin {
  return {
    name: 'sonner-without-style-element',
    apply: 'build',
    transform: {
      filter: { id: /\/sonner\/dist\/index\.mjs$/ },
      handler(code) {
        const quiet = code.replace(/^__insertCSS\(".*"\);?$/m, '')
        if (quiet === code)
          this.error('sonner injects its style differently now: adapt sonnerWithoutStyleElement')
        return { code: quiet, map: null }
      },
    },
  }
}

const backEnd = 'http://127.0.0.1:8080'

export default defineConfig({
  plugins: [react(), sonnerWithoutStyleElement()],
  server: {
    host: '127.0.0.1',
    proxy: {
      // /api/docs is part of this project. The rest of /api is served by the back end.
      '^/api/(?!docs)': backEnd,
      // Rewrites the origin, because the notifier does not allow the origin of the dev server.
      '/ws': { target: backEnd, ws: true, changeOrigin: true, rewriteWsOrigin: true },
    },
  },
  // As strict as production, so that a violation of the policy shows here.
  preview: { host: '127.0.0.1', headers: { 'Content-Security-Policy': "default-src 'self'" } },
  build: {
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { input: { shop: 'index.html', docs: 'api/docs/index.html' } },
    // Swagger UI is one large file, which only its own page loads.
    chunkSizeWarningLimit: 2000,
  },
  test: { include: ['src/**/*.test.ts'] },
})
