// The gateway's own pages (errors/<status>.html): one file each, no script,
// style inline so that they show on workspace hosts too, where nothing else of
// the dashboard is served. errors/csp.conf is the header that allows exactly
// that style and nothing else.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = join(dirname(dirname(fileURLToPath(import.meta.url))), "errors");

const MARK =
  '<svg class="mark" viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="8" fill="#3d5afe"/>' +
  '<path d="M9 10.5l5.5 5.5L9 21.5" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" stroke-linejoin="round"/>' +
  '<path d="M17 21.5h6.5" stroke="#fff" stroke-width="3" stroke-linecap="round"/></svg>';

// What was asked for and the way out: the gateway fills them in (server-side includes), escaped. A script would do it too,
// but workspace hosts serve no file of ours that one could lie in.
const ASKED =
  '\n<!--# if expr="$gitpod_error_asked" --><p class="asked">You asked for ' +
  '<code><!--# echo var="gitpod_error_asked" encoding="entity" --></code></p><!--# endif -->';
const HOME =
  '\n<!--# if expr="$gitpod_error_home" --><p class="again">' +
  '<a href="<!--# echo var="gitpod_error_home" encoding="entity" -->/workspaces">Your workspaces</a></p><!--# endif -->';

// entry.refresh: seconds until the browser looks again by itself.
function page(status, entry, style) {
  const refresh = entry.refresh ? `\n<meta http-equiv="refresh" content="${entry.refresh}">` : "";
  const again = entry.again ? '\n<p class="again"><a href="">Try again</a></p>' : "";
  const steps = entry.todo.map((line) => `<li>${line}</li>`).join("\n");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<link rel="icon" href="data:,">${refresh}
<title>${entry.title}</title>
<style>${style}</style>
</head>
<body>
<main>
${MARK}
<p class="status">${status}</p>
<h1>${entry.title}</h1>
<p>${entry.why}</p>${entry.asked ? ASKED : ""}
<ul>
${steps}
</ul>${again}${entry.asked ? HOME : ""}
</main>
</body>
</html>
`;
}

export function errorPageFiles() {
  const style = readFileSync(join(folder, "error.css"), "utf8");
  const entries = JSON.parse(readFileSync(join(folder, "pages.json"), "utf8"));
  const hash = createHash("sha256").update(style).digest("base64");
  const csp =
    `default-src 'none'; style-src 'sha256-${hash}'; img-src data:; ` +
    `base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
  const files = { "errors/csp.conf": `add_header Content-Security-Policy "${csp}" always;\n` };
  for (const [status, entry] of Object.entries(entries)) {
    files[`errors/${status}.html`] = page(entry.status ?? status, entry, style);
  }
  return files;
}

export function errorPages() {
  return {
    name: "gitpod-error-pages",
    generateBundle() {
      for (const [fileName, source] of Object.entries(errorPageFiles())) {
        this.emitFile({ type: "asset", fileName, source });
      }
    },
  };
}
