// What the pages show of a workspace.
import type { Workspace, WorkspaceStatus } from "../gen/gitpod/v1/workspace_pb";
import { displayRepository, webLink } from "./context";
import { stateOf } from "./phases";
import { durationMs, formatDuration, timestampMs } from "./time";

export function nameOf(workspace: Workspace): string {
  return workspace.metadata?.name || workspace.id;
}

export function contextOf(workspace: Workspace): { text: string; href?: string } {
  const original = workspace.metadata?.originalContextUrl ?? "";
  const url = original || workspace.status?.gitStatus?.cloneUrl || "";
  return { text: displayRepository(url), href: webLink(url) };
}

export function branchOf(workspace: Workspace): string {
  const status = workspace.status?.gitStatus;
  if (status?.branch) {
    return status.branch;
  }
  for (const spec of workspace.spec?.initializer?.specs ?? []) {
    if (spec.spec.case === "git" && spec.spec.value.cloneTarget) {
      const target = spec.spec.value.cloneTarget;
      return /^[0-9a-f]{40}$/.test(target) ? target.slice(0, 8) : target;
    }
  }
  return status?.latestCommit ? status.latestCommit.slice(0, 8) : "";
}

/** The last time something happened with it: use, or a change of phase. */
export function lastUsedMs(workspace: Workspace): number | undefined {
  const times = [
    timestampMs(workspace.spec?.lastUserActivity),
    timestampMs(workspace.status?.phase?.lastTransitionTime),
  ].filter((time): time is number => time !== undefined);
  return times.length > 0 ? Math.max(...times) : undefined;
}

/** "2 uncommitted files, 1 unpushed commit", empty when all is pushed or unknown. */
export function unsavedText(status: WorkspaceStatus | undefined): string {
  const git = status?.gitStatus;
  if (!git) {
    return "";
  }
  const count = (n: number, what: string) => (n > 0 ? [`${n} ${what}${n === 1 ? "" : "s"}`] : []);
  return [
    ...count(git.totalUncommitedFiles, "uncommitted file"),
    ...count(git.totalUntrackedFiles, "untracked file"),
    ...count(git.totalUnpushedCommits, "unpushed commit"),
  ].join(", ");
}

/** When a running workspace stops by itself, as a sentence. */
export function idleText(workspace: Workspace): string {
  const timeout = workspace.spec?.timeout;
  const ms = durationMs(timeout?.inactivity) || durationMs(timeout?.disconnected);
  return ms ? `Stops after ${formatDuration(ms)} without use` : "";
}

/** Pinned first, then the last used. */
export function compareWorkspaces(a: Workspace, b: Workspace): number {
  const pinned = Number(b.metadata?.pinned ?? false) - Number(a.metadata?.pinned ?? false);
  return pinned || (lastUsedMs(b) ?? 0) - (lastUsedMs(a) ?? 0) || a.id.localeCompare(b.id);
}

/** Every word of the term is in the name, the repository, the branch, the id or the state. */
export function matches(workspace: Workspace, term: string): boolean {
  const text = [
    nameOf(workspace), workspace.id, contextOf(workspace).text, branchOf(workspace), stateOf(workspace.status),
  ].join(" ").toLowerCase();
  return term.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/** The newer of two states of one workspace; a list may arrive after a later event. */
export function newerStatus(a: WorkspaceStatus | undefined, b: WorkspaceStatus | undefined): WorkspaceStatus | undefined {
  if (!a || !b) {
    return a ?? b;
  }
  return b.statusVersion >= a.statusVersion ? b : a;
}
