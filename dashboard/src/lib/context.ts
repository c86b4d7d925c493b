// Context URLs: what a person pastes, and how it is shown.

/** The hosts that may stand as the first segment of a path: D/github.com/owner/repo. */
const KNOWN_HOSTS = ["github.com", "gitlab.com", "bitbucket.org"];

/**
 * The context URL in a location's hash, or undefined.
 * "#https://h/o/r", "#/h/o/r" and a percent-encoded whole are the same.
 */
export function contextFromHash(hash: string): string | undefined {
  let text = hash.replace(/^#/, "").trim().replace(/^\/+/, "");
  // What is no URL is shown as it was typed: the browser has encoded its spaces.
  const plain = !text.includes("://") && !looksLikeRepository(text);
  if (plain || /^[a-z][a-z0-9+.-]*%3a/i.test(text)) {
    try {
      text = decodeURIComponent(text).trim();
    } catch {
      // Not an encoded whole: the server says what is wrong with it.
    }
  }
  return text === "" ? undefined : text;
}

/** D/github.com/owner/repo is the same as D/#github.com/owner/repo. */
export function contextFromPath(path: string): string | undefined {
  const text = path.replace(/^\/+/, "");
  const host = text.replace(/^https?:\/+/, "").split("/")[0] ?? "";
  if (!KNOWN_HOSTS.includes(host) || text.replace(/\/+$/, "") === host) {
    return undefined;
  }
  return text.replace(/^(https?):\/+/, "$1://");
}

/** "github.com/owner/repo" of a clone or context URL; the text itself when it is no URL. */
export function displayRepository(url: string): string {
  return url
    .replace(/^[a-z][a-z0-9+.-]*:\/\//i, "")
    .replace(/^[^@/]*@/, "")
    .replace(/\/+$/, "")
    .replace(/\.git$/, "");
}

/** An http(s) link to a context URL, undefined when it is none (file://, ssh). */
export function webLink(url: string): string | undefined {
  try {
    const parsed = new URL(url);
    if (parsed.protocol !== "http:" && parsed.protocol !== "https:") {
      return undefined;
    }
    parsed.username = "";
    parsed.password = "";
    return parsed.toString();
  } catch {
    return undefined;
  }
}

/** Whether it is worth asking the server what a text would open: a host and a path are there. */
export function looksLikeRepository(text: string): boolean {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) {
    return /^(file:\/\/\/|[a-z][a-z0-9+.-]*:\/\/[^/\s]+\/)[^/\s]/i.test(text);
  }
  return /^[^/\s:]+[.:][^/\s]*\/[^/\s]/.test(text);
}

/** host[:port], lower case, of whatever was pasted: a host, a URL, git@host:path. */
export function gitHost(text: string): string {
  let host = text.trim();
  host = host.replace(/^[a-z][a-z0-9+.-]*:\/\//i, "");
  host = host.replace(/^[^@/]*@/, "");
  host = host.split(/[/?#]/)[0] ?? "";
  host = host.replace(/:(?!\d+$).*$/, "");
  return host.toLowerCase();
}

/**
 * A place in this application to go back to after the log-in, undefined when
 * the text leads elsewhere: only paths of our own origin are followed.
 */
export function safeReturn(text: string | null | undefined, origin: string): string | undefined {
  if (!text || !text.startsWith("/") || text.startsWith("//") || /[\\\u0000-\u001f]/.test(text)) {
    return undefined;
  }
  try {
    const url = new URL(text, origin);
    if (url.origin !== origin || url.pathname === "/login") {
      return undefined;
    }
    return url.pathname + url.search + url.hash;
  } catch {
    return undefined;
  }
}

/** Outcome of pasting a log-in link. */
export type LoginLink = { path: string } | { error: string };

/** The path of a pasted log-in link; only links of this origin are followed. */
export function loginLink(text: string, origin: string): LoginLink {
  const trimmed = text.trim();
  if (trimmed === "") {
    return { error: "Paste the link that sudo ./build.sh login-link printed." };
  }
  let url: URL;
  try {
    url = new URL(trimmed, origin);
  } catch {
    return { error: "This is not a link. It looks like " + origin + "/api/login/link?token=…" };
  }
  if (url.origin !== origin) {
    return { error: `This link is for ${url.origin}, but this page is ${origin}. Open it in the address bar.` };
  }
  if (url.pathname !== "/api/login/link" || !url.searchParams.get("token")) {
    return { error: "This is not a log-in link. It looks like " + origin + "/api/login/link?token=…" };
  }
  return { path: url.pathname + url.search };
}
