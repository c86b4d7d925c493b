// Texts of errors: the server's own words, and for a failure on the way what it means.
import { Code, ConnectError } from "@connectrpc/connect";

const STATUS_TEXT: Record<number, string> = {
  404: "The server does not know this call. Dashboard and server may be of different versions: load the page again.",
  413: "The request is larger than the server takes.",
  429: "Too many requests at once. Wait a few seconds and try again.",
  500: "The gateway failed while it handled this call. Its log says why.",
  502: "The service behind the gateway did not answer. It usually comes back within seconds: try again.",
  503: "The service behind the gateway is not available right now. It usually comes back within seconds: try again.",
  504: "The service behind the gateway took too long. Try again.",
};

/** What to show a person. Never empty, never "unknown error". */
export function errorText(error: unknown): string {
  if (error instanceof ConnectError) {
    const bare = /^HTTP (\d{3})$/.exec(error.rawMessage);
    if (bare) {
      return `${STATUS_TEXT[Number(bare[1])] ?? "The server refused this call."} (HTTP ${bare[1]})`;
    }
    if (isNetworkText(error.rawMessage)) {
      return `The server cannot be reached (${error.rawMessage}). Check your connection; running workspaces go on.`;
    }
    // The field's name is for who writes a program; the form has one field.
    const text = error.rawMessage.replace(/^context_url: /, "");
    return text === "" ? `The server gave the code ${Code[error.code]} and no text.` : text;
  }
  if (error instanceof Error && error.message !== "") {
    return isNetworkText(error.message)
      ? `The server cannot be reached (${error.message}). Check your connection; running workspaces go on.`
      : error.message;
  }
  return `Something that is not an error was thrown: ${String(error)}`;
}

/** Whether the call failed on the way: the server has not answered. */
export function isNetworkError(error: unknown): boolean {
  return error instanceof ConnectError ? isNetworkText(error.rawMessage) : error instanceof Error && isNetworkText(error.message);
}

function isNetworkText(text: string): boolean {
  return /failed to fetch|networkerror|load failed|network error/i.test(text);
}

export function isCode(error: unknown, ...codes: Code[]): boolean {
  return error instanceof ConnectError && codes.includes(error.code);
}

/** The token form for a host, with the place to go back to when the token is there. */
export function gitTokenHref(host: string, from: string): string {
  return `/settings/git-tokens?host=${encodeURIComponent(host)}&return=${encodeURIComponent(from)}`;
}

/** Whether a text says that a Git host wants a token. */
export function wantsGitToken(text: string): boolean {
  return /\b(git )?tokens?\b|credential|authenticat|unauthori[sz]ed|permission denied|may be private|is private/i.test(text);
}

/** The first host in a text that names a repository URL, for the token form. */
export function hostInText(text: string): string | undefined {
  return /https?:\/\/(?:[^@/\s]*@)?([a-z0-9.-]+(?::\d+)?)/i.exec(text)?.[1]?.toLowerCase();
}
