// Asking again. The network of a person's machine changes under the page (a container
// starts, a cable goes): Chromium then fails every fetch that is under way.
import { Code, type Interceptor } from "@connectrpc/connect";
import { isCode, isNetworkError } from "./errors";

const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 15_000;
const REPEAT_MS = [500, 2_000];
const LOADING_FIRST = 2; // the back-off of a page's loading begins at 2 s: its calls were repeated already

/** Delay before try n (from 0): doubling, with jitter, bounded. */
export function backoffMs(attempt: number, random: number = Math.random()): number {
  const full = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 10));
  return Math.round(full * (0.7 + 0.3 * random));
}

/** Whether asking again leads nowhere: the server has decided. */
export function isFinal(error: unknown): boolean {
  return isCode(error, Code.NotFound, Code.PermissionDenied, Code.Unauthenticated, Code.InvalidArgument);
}

function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = () => {
      clearTimeout(timer);
      reject(stop.reason);
    };
    const timer = setTimeout(() => {
      stop.removeEventListener("abort", aborted);
      resolve();
    }, ms);
    stop.addEventListener("abort", aborted, { once: true });
  });
}

/** Calls that only read are made again when the network failed them; an answer of the server's stands. */
export const repeatReads: Interceptor = (next) => async (request) => {
  const waits = !request.stream && /^(List|Get)/.test(request.method.name) ? REPEAT_MS : [];
  for (const wait of waits) {
    try {
      return await next(request);
    } catch (error) {
      if (!isNetworkError(error) || request.signal.aborted) {
        throw error;
      }
      await pause(wait, request.signal);
    }
  }
  return next(request);
};

export interface Loader {
  now: () => void;
  end: () => void;
}

/**
 * Loads what a page shows, now and after every failure, later and later, until it is there or the page is left. Of loads
 * that are under way at once the last one counts.
 */
export function keepLoading(load: () => Promise<void>, failed: (error: unknown) => void): Loader {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;
  let ended = false;
  let last = 0;
  const now = () => {
    clearTimeout(timer);
    if (ended) {
      return;
    }
    const mine = ++last;
    load().then(
      () => {
        failures = mine === last ? 0 : failures;
      },
      (error) => {
        if (ended || mine !== last) {
          return;
        }
        failed(error);
        if (!isFinal(error)) {
          timer = setTimeout(now, backoffMs(LOADING_FIRST + failures));
          failures += 1;
        }
      },
    );
  };
  now();
  return {
    now,
    end: () => {
      ended = true;
      clearTimeout(timer);
    },
  };
}
