// Light, dark or as the system; public/theme.js sets it before the first paint.
import { useSyncExternalStore } from "react";
import { forget, keep, kept } from "./storage";

export type Theme = "system" | "light" | "dark";

const listeners = new Set<() => void>();
const systemDark = matchMedia("(prefers-color-scheme: dark)");
systemDark.addEventListener("change", () => listeners.forEach((listener) => listener()));

function currentTheme(): Theme {
  const theme = document.documentElement.dataset.theme ?? kept("local", "theme");
  return theme === "light" || theme === "dark" ? theme : "system";
}

export function setTheme(theme: Theme): void {
  if (theme === "system") {
    forget("local", "theme");
    delete document.documentElement.dataset.theme;
  } else {
    keep("local", "theme", theme);
    document.documentElement.dataset.theme = theme;
  }
  listeners.forEach((listener) => listener());
}

/** The choice, and whether dark colours show now: "system/dark". */
function snapshot(): string {
  const theme = currentTheme();
  return `${theme}/${theme === "dark" || (theme === "system" && systemDark.matches) ? "dark" : "light"}`;
}

export function useTheme(): { theme: Theme; dark: boolean } {
  const value = useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, snapshot);
  const [theme, shown] = value.split("/");
  return { theme: theme as Theme, dark: shown === "dark" };
}
