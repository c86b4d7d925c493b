// Times for people. All arguments are milliseconds.
import type { Timestamp, Duration } from "@bufbuild/protobuf/wkt";

/** Milliseconds since 1970 of a protobuf Timestamp, undefined when absent or zero. */
export function timestampMs(t: Timestamp | undefined): number | undefined {
  if (!t || t.seconds <= 0n) {
    return undefined;
  }
  return Number(t.seconds) * 1000 + Math.floor(t.nanos / 1e6);
}

export function durationMs(d: Duration | undefined): number | undefined {
  if (!d) {
    return undefined;
  }
  return Number(d.seconds) * 1000 + Math.floor(d.nanos / 1e6);
}

/** "0.4 s", "12 s", "1 min 05 s", "2 h 03 min". Negative (clock skew) counts as 0. */
export function formatElapsed(ms: number): string {
  const clamped = Math.max(0, ms);
  if (clamped < 9_950) {
    return `${(clamped / 1000).toFixed(1)} s`;
  }
  const seconds = Math.round(clamped / 1000);
  if (seconds < 60) {
    return `${seconds} s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    return `${minutes} min ${String(seconds % 60).padStart(2, "0")} s`;
  }
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** "30 min", "1 h", "1 h 30 min", "45 s": whole policies such as time-outs. */
export function formatDuration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) {
    return `${seconds} s`;
  }
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.round((seconds % 3600) / 60);
  const parts = [];
  if (hours > 0) {
    parts.push(`${hours} h`);
  }
  if (minutes > 0) {
    parts.push(`${minutes} min`);
  }
  return parts.join(" ");
}

/** "just now", "5 min ago", "3 h ago", "yesterday", "4 days ago", then the date. */
export function formatAgo(atMs: number, nowMs: number): string {
  const seconds = Math.max(0, Math.round((nowMs - atMs) / 1000));
  if (seconds < 45) {
    return "just now";
  }
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) {
    return `${minutes} min ago`;
  }
  const hours = Math.round(minutes / 60);
  if (hours < 24) {
    return `${hours} h ago`;
  }
  const days = Math.round(hours / 24);
  if (days === 1) {
    return "yesterday";
  }
  if (days < 14) {
    return `${days} days ago`;
  }
  return new Date(atMs).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}
