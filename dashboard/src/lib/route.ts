// A router of one page: the path decides, the hash carries context URLs and ids.
import { useSyncExternalStore } from "react";

export interface Route {
  path: string; // without a slash at the end, "/" for the root
  search: string;
  hash: string;
}

let current = read();
const listeners = new Set<() => void>();

function read(): Route {
  if (typeof location === "undefined") {
    return { path: "/", search: "", hash: "" };
  }
  return {
    path: location.pathname.replace(/\/+$/, "") || "/",
    search: location.search,
    hash: location.hash,
  };
}

function changed(): void {
  current = read();
  listeners.forEach((listener) => listener());
}

if (typeof window !== "undefined") {
  window.addEventListener("popstate", changed);
  window.addEventListener("hashchange", changed);
}

export function navigate(to: string, options: { replace?: boolean } = {}): void {
  if (options.replace) {
    history.replaceState(null, "", to);
  } else {
    history.pushState(null, "", to);
    window.scrollTo(0, 0);
  }
  changed();
}

export function useRoute(): Route {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => current,
  );
}
