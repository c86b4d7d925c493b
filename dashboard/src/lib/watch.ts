// Streams that stay: one workspace by WatchWorkspaceStatus, all of the person by
// the gateway's events. They reconnect with back-off, and let go while the tab is
// hidden, since a browser has six connections to one host and every tab would
// hold one.
import { Code } from "@connectrpc/connect";
import type { WatchWorkspaceStatusResponse } from "../gen/gitpod/v1/workspace_pb";
import { backoffMs, isFinal } from "./again";
import { workspaces } from "./api";
import { isCode } from "./errors";
import { parseEvent } from "./event";
import { toLogin } from "./session";

const STABLE_MS = 10_000;
const HIDDEN_GRACE_MS = 10_000;
const HIDDEN_POLL_MS = 3_000;

export interface Watcher {
  message(message: WatchWorkspaceStatusResponse): void;
  /** resumed: nothing was missed since the last message. */
  connected?(resumed: boolean): void;
  /** Messages were missed: read the list anew. */
  reset?(): void;
  /** Without an error the browser tries again by itself. */
  lost?(error: unknown): void;
  /** No use in trying again: gone, or not ours. */
  refused?(error: unknown): void;
  /** Called every few seconds while the tab is hidden. */
  poll?(): Promise<void>;
}

/** Ends early when the network or the tab comes back, or when stopped. */
function sleep(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      window.removeEventListener("online", done);
      document.removeEventListener("visibilitychange", done);
      stop.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    window.addEventListener("online", done);
    document.addEventListener("visibilitychange", done);
    stop.addEventListener("abort", done);
  });
}

/** A signal that fires when stopped, or when the tab was hidden for a while. */
function whileVisible(stop: AbortSignal): { signal: AbortSignal; done: () => void } {
  const controller = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const abort = () => controller.abort();
  const visibility = () => {
    clearTimeout(timer);
    if (document.hidden) {
      timer = setTimeout(abort, HIDDEN_GRACE_MS);
    }
  };
  document.addEventListener("visibilitychange", visibility);
  stop.addEventListener("abort", abort);
  visibility();
  return {
    signal: controller.signal,
    done: () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", visibility);
      stop.removeEventListener("abort", abort);
    },
  };
}

async function stream(id: string, watcher: Watcher, stop: AbortSignal): Promise<void> {
  const visible = whileVisible(stop);
  try {
    let first = true;
    for await (const message of workspaces.watchWorkspaceStatus({ workspaceId: id }, { signal: visible.signal })) {
      if (first) {
        first = false;
        watcher.connected?.(false);
      }
      watcher.message(message);
    }
  } catch (error) {
    if (!visible.signal.aborted) {
      throw error;
    }
  } finally {
    visible.done();
  }
}

/** The id of the last event, from where the next connection goes on. */
interface Place {
  id?: string;
}

/**
 * The browser itself comes back after a loss, with Last-Event-ID. It gives up
 * when the answer is no stream; why, only a call of the API can tell.
 */
function events(watcher: Watcher, place: Place, stop: AbortSignal): Promise<void> {
  const visible = whileVisible(stop);
  const source = new EventSource(place.id === undefined ? "/api/events" : `/api/events?lastEventId=${encodeURIComponent(place.id)}`);
  const ended = new Promise<void>((resolve, reject) => {
    visible.signal.addEventListener("abort", () => resolve());
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) {
        reject(new Error("the gateway does not give a stream of events"));
      } else {
        watcher.lost?.(undefined);
      }
    };
  });
  source.onopen = () => watcher.connected?.(place.id !== undefined);
  source.addEventListener("workspace", (event: MessageEvent<string>) => {
    place.id = event.lastEventId;
    const message = parseEvent(event.data);
    if (message) {
      watcher.message(message);
    } else {
      watcher.reset?.();
    }
  });
  source.addEventListener("reset", (event: MessageEvent<string>) => {
    place.id = event.lastEventId;
    watcher.reset?.();
  });
  return ended.finally(() => {
    source.close();
    visible.done();
  });
}

async function hidden(watcher: Watcher, stop: AbortSignal): Promise<void> {
  while (document.hidden && !stop.aborted) {
    await watcher.poll?.().catch(() => undefined);
    await sleep(HIDDEN_POLL_MS, stop);
  }
}

async function run(connect: () => Promise<void>, watcher: Watcher, stop: AbortSignal): Promise<void> {
  let failures = 0;
  while (!stop.aborted) {
    await hidden(watcher, stop);
    if (stop.aborted) {
      return;
    }
    const began = Date.now();
    let error: unknown;
    try {
      await connect();
    } catch (thrown) {
      error = thrown;
    }
    if (stop.aborted) {
      return;
    }
    if (isCode(error, Code.Unauthenticated)) {
      toLogin();
    }
    if (isFinal(error)) {
      watcher.refused?.(error);
      return;
    }
    failures = Date.now() - began > STABLE_MS ? 0 : failures + 1;
    if (!document.hidden) {
      watcher.lost?.(error);
      await sleep(backoffMs(Math.max(0, failures - 1)), stop);
    }
  }
}

/** Watches one workspace. Returns the end of it. */
export function watchStatus(id: string, watcher: Watcher): () => void {
  const controller = new AbortController();
  void run(() => stream(id, watcher, controller.signal), watcher, controller.signal);
  return () => controller.abort();
}

/** Watches all workspaces of the person. Returns the end of it. */
export function watchAll(watcher: Watcher): () => void {
  const controller = new AbortController();
  const place: Place = {};
  void run(() => events(watcher, place, controller.signal), watcher, controller.signal);
  return () => controller.abort();
}
