// One workspace as the start page follows it: status, timeline, actions, and
// the way into the editor as soon as it is there.
import { Code } from "@connectrpc/connect";
import { useEffect, useRef, useState } from "react";
import type { Workspace, WorkspaceStatus } from "../gen/gitpod/v1/workspace_pb";
import { WorkspacePhase_Phase as Phase } from "../gen/gitpod/v1/workspace_pb";
import { keepLoading } from "./again";
import { workspaces } from "./api";
import { errorText, isCode } from "./errors";
import { emptyTimeline, observe, phaseOf, type Timeline } from "./phases";
import { keep, kept } from "./storage";
import { watchStatus } from "./watch";
import { newerStatus } from "./workspace";

export interface StartState {
  workspace?: Workspace;
  timeline: Timeline;
  problem?: string; // why the workspace cannot be shown
  missing: boolean;
  lost: boolean; // the stream is away
  busy?: string; // label of the action that runs
  actionProblem?: string;
  opensAtMs?: number; // the editor opens then by itself: there are warnings to read first
  stay: () => void; // do not open it by itself
  start: () => void;
  stop: () => void;
  reload: () => void;
}

/** Time to read warnings that this browser has not shown before. */
const READ_MS = 6_000;

/** Whether these warnings were shown before; from now on they were. */
function seen(warnings: string[]): boolean {
  const text = warnings.join("\n");
  const before = kept("local", "warnings") === text;
  keep("local", "warnings", text);
  return before;
}

function loadTimeline(id: string): Timeline {
  try {
    const value = JSON.parse(kept("session", `timeline.${id}`) ?? "") as Timeline;
    return typeof value.instance === "string" && typeof value.begin === "object" ? value : emptyTimeline("");
  } catch {
    return emptyTimeline("");
  }
}

export function useStart(id: string): StartState {
  const [workspace, setWorkspace] = useState<Workspace>();
  const [timeline, setTimeline] = useState<Timeline>(() => loadTimeline(id));
  const [problem, setProblem] = useState<string>();
  const [missing, setMissing] = useState(false);
  const [lost, setLost] = useState(false);
  const [busy, setBusy] = useState<string>();
  const [actionProblem, setActionProblem] = useState<string>();
  const [round, setRound] = useState(0);
  const status = useRef<WorkspaceStatus>(undefined);
  const leaving = useRef(false);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const [opensAtMs, setOpensAt] = useState<number>();

  const take = (next: WorkspaceStatus | undefined) => {
    status.current = newerStatus(status.current, next);
    const now = status.current;
    if (!now) {
      return;
    }
    setTimeline((before) => {
      const after = observe(before, now, Date.now());
      if (after !== before) {
        keep("session", `timeline.${id}`, JSON.stringify(after));
      }
      return after;
    });
    setWorkspace((before) => before && { ...before, status: now });
    if (phaseOf(now) !== Phase.RUNNING) {
      leaving.current = false;
      stay();
    } else if (now.workspaceUrl && !leaving.current) {
      leaving.current = true;
      void leave(now.workspaceUrl);
    }
  };

  const stay = () => {
    clearTimeout(timer.current);
    setOpensAt(undefined);
  };

  // Warnings are complete only when it runs, and come with the workspace, not with the status.
  const leave = async (url: string) => {
    const response = await workspaces.getWorkspace({ workspaceId: id }).catch(() => undefined);
    const warnings = response?.workspace?.metadata?.warnings ?? [];
    if (!leaving.current) {
      return; // gone from the page, or stopped meanwhile
    }
    if (warnings.length === 0 || seen(warnings)) {
      location.replace(url);
      return;
    }
    setWorkspace((before) => before && { ...before, metadata: response?.workspace?.metadata });
    setOpensAt(Date.now() + READ_MS);
    timer.current = setTimeout(() => location.replace(url), READ_MS);
  };

  useEffect(() => {
    let live = true;
    const load = async () => {
      const response = await workspaces.getWorkspace({ workspaceId: id });
      if (!live || !response.workspace) {
        return;
      }
      setProblem(undefined);
      setMissing(false);
      setWorkspace({ ...response.workspace, status: newerStatus(status.current, response.workspace.status) });
      take(response.workspace.status);
    };
    const refused = (error: unknown) => {
      if (live) {
        setProblem(errorText(error));
        setMissing(isCode(error, Code.NotFound, Code.InvalidArgument));
        if (isCode(error, Code.NotFound)) {
          setWorkspace(undefined); // deleted while we watched
        }
      }
    };
    // Warnings and the branch are known only after a while: look again at each change of phase.
    let phase = Phase.UNSPECIFIED;
    const loading = keepLoading(load, refused);
    const end = watchStatus(id, {
      connected: () => setLost(false),
      lost: () => setLost(true),
      refused,
      poll: load,
      message: (message) => {
        take(message.status);
        if (message.status && phaseOf(message.status) !== phase) {
          phase = phaseOf(message.status);
          load().catch(() => undefined);
        }
      },
    });
    // Back from the editor by the browser's own cache: the page is as it was left.
    const shown = (event: PageTransitionEvent) => {
      if (event.persisted) {
        leaving.current = false;
        loading.now();
      }
    };
    window.addEventListener("pageshow", shown);
    return () => {
      live = false;
      leaving.current = false;
      clearTimeout(timer.current);
      window.removeEventListener("pageshow", shown);
      loading.end();
      end();
    };
  }, [id, round]);

  const act = (label: string, action: () => Promise<{ workspace?: Workspace }>) => {
    setBusy(label);
    setActionProblem(undefined);
    action().then(
      (response) => {
        setBusy(undefined);
        take(response.workspace?.status);
      },
      (error) => {
        setBusy(undefined);
        setActionProblem(errorText(error));
      },
    );
  };

  return {
    workspace, timeline, problem, missing, lost, busy, actionProblem, opensAtMs, stay,
    start: () => act("Starting…", () => workspaces.startWorkspace({ workspaceId: id })),
    stop: () => act("Stopping…", async () => {
      await workspaces.stopWorkspace({ workspaceId: id });
      return {};
    }),
    reload: () => setRound(round + 1),
  };
}
