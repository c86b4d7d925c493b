// One workspace as the start page follows it: status, timeline, actions, and
// the way into the editor as soon as it is there.
import { Code } from "@connectrpc/connect";
import { useEffect, useRef, useState } from "react";
import type { Workspace, WorkspaceStatus } from "../gen/gitpod/v1/workspace_pb";
import { WorkspacePhase_Phase as Phase } from "../gen/gitpod/v1/workspace_pb";
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
  start: () => void;
  stop: () => void;
  reload: () => void;
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
    if (phaseOf(now) === Phase.RUNNING && now.workspaceUrl && !leaving.current) {
      leaving.current = true;
      location.replace(now.workspaceUrl);
    }
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
    load().catch(refused);
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
        load().catch(refused);
      }
    };
    window.addEventListener("pageshow", shown);
    return () => {
      live = false;
      window.removeEventListener("pageshow", shown);
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
    workspace, timeline, problem, missing, lost, busy, actionProblem,
    start: () => act("Starting…", () => workspaces.startWorkspace({ workspaceId: id })),
    stop: () => act("Stopping…", async () => {
      await workspaces.stopWorkspace({ workspaceId: id });
      return {};
    }),
    reload: () => setRound(round + 1),
  };
}
