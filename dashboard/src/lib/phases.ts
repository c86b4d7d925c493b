// From a workspace's status to what people see: a badge, and the steps of a start.
import type { WorkspaceStatus } from "../gen/gitpod/v1/workspace_pb";
import { WorkspacePhase_Phase as Phase } from "../gen/gitpod/v1/workspace_pb";
import { timestampMs } from "./time";

export const STEPS = ["preparing", "creating", "content", "editor", "ready"] as const;
export type Step = (typeof STEPS)[number];

export const STEP_TITLES: Record<Step, string> = {
  preparing: "Preparing",
  creating: "Creating the container",
  content: "Getting the content",
  editor: "Starting the editor",
  ready: "Ready",
};

export type State = "starting" | "running" | "stopping" | "stopped" | "failed" | "unknown";

export function phaseOf(status: WorkspaceStatus | undefined): Phase {
  return status?.phase?.name ?? Phase.UNSPECIFIED;
}

/** What the badge says. A stopped workspace with a failure is "failed". */
export function stateOf(status: WorkspaceStatus | undefined): State {
  switch (phaseOf(status)) {
    case Phase.PREPARING:
    case Phase.IMAGEBUILD:
    case Phase.PENDING:
    case Phase.CREATING:
    case Phase.INITIALIZING:
      return "starting";
    case Phase.RUNNING:
    case Phase.INTERRUPTED:
      return "running";
    case Phase.STOPPING:
      return "stopping";
    case Phase.PAUSED:
    case Phase.STOPPED:
      return status?.conditions?.failed ? "failed" : "stopped";
    default:
      return "unknown";
  }
}

export const STATE_TITLES: Record<State, string> = {
  starting: "Starting",
  running: "Running",
  stopping: "Stopping",
  stopped: "Stopped",
  failed: "Failed",
  unknown: "Unknown",
};

/**
 * The step of a start that a status stands for; undefined when it is no start.
 * The phase decides; the text of the progress only tells the content from the
 * editor, which INITIALIZING covers both. The content is fetched from the first
 * moment on, so its text may stand under an earlier step.
 */
export function stepOf(status: WorkspaceStatus | undefined): Step | undefined {
  const text = status?.progress?.step ?? "";
  switch (phaseOf(status)) {
    case Phase.PREPARING:
    case Phase.IMAGEBUILD:
    case Phase.PENDING:
      return "preparing";
    case Phase.CREATING:
      return "creating";
    case Phase.INITIALIZING:
      return /editor|\bide\b|vs ?code/i.test(text) ? "editor" : "content";
    case Phase.RUNNING:
    case Phase.INTERRUPTED:
      return "ready";
    default:
      return undefined;
  }
}

/** The text under the active step: not the title again, and not that of another step. */
export function detailOf(step: Step, status: WorkspaceStatus | undefined): { text: string; percent: number } {
  const progress = status?.progress;
  const said = progress?.step ?? "";
  const owner = STEPS.find((each) => STEP_TITLES[each] === said);
  if (owner && owner !== step) {
    return { text: "", percent: -1 };
  }
  const text = [owner ? "" : said, progress?.detail ?? ""].filter((part) => part !== "").join(": ");
  return { text, percent: progress?.percent ?? -1 };
}

/** When each step of one instance began; kept while the page lives and across reloads. */
export interface Timeline {
  instance: string;
  begin: Partial<Record<Step, number>>;
  end?: number; // when the start ended without getting ready
}

export function emptyTimeline(instance: string): Timeline {
  return { instance, begin: {} };
}

/**
 * Takes a status in. Steps only move forward: a late message of an earlier step
 * changes nothing. Server times are used where given (all from one clock),
 * the time of arrival otherwise.
 */
export function observe(timeline: Timeline, status: WorkspaceStatus, nowMs: number): Timeline {
  const instance = status.instanceId;
  const step = stepOf(status);
  const over = timeline.end !== undefined || timeline.begin.ready !== undefined;
  const again = over && step !== undefined && step !== "ready";
  const current = instance === timeline.instance && !again ? timeline : emptyTimeline(instance);
  const transition = timestampMs(status.phase?.lastTransitionTime) ?? nowMs;
  if (!step) {
    if (lastStep(current) === undefined || current.end !== undefined) {
      return current;
    }
    return { ...current, end: Math.max(latest(current), transition) };
  }
  const last = lastStep(current);
  if (current.begin[step] !== undefined || (last && STEPS.indexOf(last) > STEPS.indexOf(step))) {
    return current;
  }
  const since = timestampMs(status.progress?.since);
  const at = Math.max(latest(current), step === "editor" || step === "content" ? since ?? transition : transition);
  return { ...current, begin: { ...current.begin, [step]: at } };
}

function latest(timeline: Timeline): number {
  return Math.max(0, ...Object.values(timeline.begin));
}

export function lastStep(timeline: Timeline): Step | undefined {
  return [...STEPS].reverse().find((step) => timeline.begin[step] !== undefined);
}

export type StepState = "waiting" | "active" | "done" | "failed";

export interface StepView {
  step: Step;
  title: string;
  state: StepState;
  elapsedMs?: number; // undefined: not begun, or nobody looked
}

/** The rows of the start page. */
export function stepViews(timeline: Timeline, state: State, nowMs: number): StepView[] {
  const last = lastStep(timeline);
  const reached = last ? STEPS.indexOf(last) : -1;
  return STEPS.map((step, index) => {
    const begin = timeline.begin[step];
    let rowState: StepState = "waiting";
    if (index < reached || (index === reached && step === "ready")) {
      rowState = "done";
    } else if (index === reached) {
      rowState = state === "starting" ? "active" : "failed";
    } else if (reached < 0 && index === 0 && state === "starting") {
      rowState = "active";
    }
    let elapsedMs: number | undefined;
    if (begin !== undefined && step !== "ready") {
      const next = STEPS.slice(index + 1).find((later) => timeline.begin[later] !== undefined);
      const end = next ? timeline.begin[next]! : timeline.end ?? nowMs;
      elapsedMs = Math.max(0, end - begin);
    }
    return { step, title: STEP_TITLES[step], state: rowState, elapsedMs };
  });
}

/** From the first step to ready, to the failure, or to now. */
export function totalMs(timeline: Timeline, nowMs: number): number | undefined {
  const begins = Object.values(timeline.begin);
  if (begins.length === 0) {
    return undefined;
  }
  const end = timeline.begin.ready ?? timeline.end ?? nowMs;
  return Math.max(0, end - Math.min(...begins));
}

/** Why a workspace is stopped, in a sentence. */
export function stopReason(status: WorkspaceStatus | undefined): string {
  if (status?.conditions?.failed) {
    return status.conditions.failed;
  }
  if (status?.conditions?.timeout) {
    const text = status.conditions.timeout;
    return /[a-z]{3}/i.test(text)
      ? `It was stopped because nobody used it: ${text}`
      : `It was stopped because nobody used it for ${text}.`;
  }
  return "It was stopped.";
}
