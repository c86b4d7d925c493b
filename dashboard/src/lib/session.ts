// Signing in and out. The session is a cookie that scripts cannot read.
import { safeReturn } from "./context";
import { navigate } from "./route";
import { forget, keep, kept } from "./storage";

const RETURN_KEY = "return";
const RENEW_KEY = "renewed";
const SIGNED_IN_KEY = "signed-in"; // a hint for the log-in page, shared by all tabs
const RENEW_EVERY_MS = 24 * 3600 * 1000;

/** To the log-in, remembering where the person wanted to go, hash included. */
export function toLogin(): void {
  if (location.pathname === "/login") {
    return;
  }
  const here = location.pathname + location.search + location.hash;
  forget("local", SIGNED_IN_KEY);
  keep("session", RETURN_KEY, here);
  navigate(`/login?return=${encodeURIComponent(here)}`, { replace: true });
}

export function rememberSignedIn(): void {
  keep("local", SIGNED_IN_KEY, "1");
}

/** Whether this browser was signed in when it last looked. */
export function maybeSignedIn(): boolean {
  return kept("local", SIGNED_IN_KEY) !== undefined;
}

/** Calls back when another tab signs in. Returns the end of it. */
export function onSignedIn(callback: () => void): () => void {
  const changed = (event: StorageEvent) => {
    if (event.key === `gitpod.${SIGNED_IN_KEY}` && event.newValue !== null) {
      callback();
    }
  };
  window.addEventListener("storage", changed);
  return () => window.removeEventListener("storage", changed);
}

/** The log-in page was opened with ?return=: remember it through the one-time link. */
export function rememberReturn(search: string): void {
  const wanted = safeReturn(new URLSearchParams(search).get("return"), location.origin);
  if (wanted) {
    keep("session", RETURN_KEY, wanted);
  }
}

/** Where the person wanted to go before signing in; answered once. */
export function takeReturn(): string | undefined {
  const wanted = safeReturn(kept("session", RETURN_KEY), location.origin);
  forget("session", RETURN_KEY);
  return wanted;
}

/** Goes to a remembered place. Paths under /api are the server's, not ours. */
export function follow(path: string): void {
  if (path.startsWith("/api/")) {
    location.replace(path);
  } else {
    navigate(path, { replace: true });
  }
}

/** Keeps the session alive: at most once a day, silently. A session first seen is young. */
export function renewSession(): void {
  const last = Number(kept("local", RENEW_KEY) ?? 0);
  if (last === 0) {
    keep("local", RENEW_KEY, String(Date.now()));
    return;
  }
  if (Date.now() - last < RENEW_EVERY_MS) {
    return;
  }
  fetch("/api/session/renew", { method: "POST" })
    .then((response) => {
      if (response.ok) {
        keep("local", RENEW_KEY, String(Date.now()));
      }
    })
    .catch(() => {
      // The next load tries again; the session is good for days.
    });
}

/** Ends the session here. Throws a text when the server did not. */
export async function logOut(): Promise<void> {
  const response = await fetch("/api/logout", { method: "POST" });
  if (!response.ok && response.status !== 401) {
    throw new Error(`You are still signed in: the server answered HTTP ${response.status}. Try again.`);
  }
  forget("session", RETURN_KEY);
  forget("local", RENEW_KEY);
  forget("local", SIGNED_IN_KEY);
  location.assign("/login");
}
