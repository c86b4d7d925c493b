import { defineConfig } from "vite";
import { errorPages } from "./scripts/error_pages.mjs";

// Everything is served by the gateway from one origin under
// `default-src 'self'`: no inline script or style, no data: scripts.
export default defineConfig({
  base: "/",
  plugins: [errorPages()],
  esbuild: { jsx: "automatic" },
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2022",
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  // `npm run dev` next to a running instance.
  server: {
    proxy: {
      "/public-api": process.env.GITPOD_URL ?? "http://gitpod.localhost:8080",
      "/api": process.env.GITPOD_URL ?? "http://gitpod.localhost:8080",
    },
  },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
});
