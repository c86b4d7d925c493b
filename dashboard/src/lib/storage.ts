// Web storage that may be refused (private windows, policies): then nothing is kept.

function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}

export function keep(area: "session" | "local", key: string, value: string): void {
  attempt(() => (area === "session" ? sessionStorage : localStorage).setItem(`gitpod.${key}`, value));
}

export function kept(area: "session" | "local", key: string): string | undefined {
  return attempt(() => (area === "session" ? sessionStorage : localStorage).getItem(`gitpod.${key}`)) ?? undefined;
}

export function forget(area: "session" | "local", key: string): void {
  attempt(() => (area === "session" ? sessionStorage : localStorage).removeItem(`gitpod.${key}`));
}
