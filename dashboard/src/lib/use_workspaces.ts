// All workspaces of the person, kept up to date by the gateway's events.
import { useEffect, useRef, useState } from "react";
import type { Workspace } from "../gen/gitpod/v1/workspace_pb";
import { keepLoading, type Loader } from "./again";
import { workspaces as api } from "./api";
import { errorText } from "./errors";
import { watchAll } from "./watch";
import { newerStatus } from "./workspace";

const PAGE_SIZE = 100;
const MOST = 1000;
const PATIENCE_MS = 3_000; // for the stream, before the list is read without it

export interface WorkspaceList {
  items: Workspace[] | undefined; // undefined: not loaded yet
  problem?: string; // of loading
  live: boolean; // the stream is there
  truncated: boolean; // there are more than are shown
  put: (workspace: Workspace) => void;
  drop: (id: string) => void;
  reload: () => void;
}

async function loadAll(): Promise<{ all: Workspace[]; truncated: boolean }> {
  const all: Workspace[] = [];
  let token = "";
  do {
    const page = await api.listWorkspaces({ pagination: { pageSize: PAGE_SIZE, token } });
    all.push(...page.workspaces);
    token = page.workspaces.length > 0 ? page.pagination?.nextToken ?? "" : "";
  } while (token !== "" && all.length < MOST);
  return { all, truncated: token !== "" };
}

export function useWorkspaces(): WorkspaceList {
  const [items, setItems] = useState<Map<string, Workspace>>();
  const [problem, setProblem] = useState<string>();
  const [live, setLive] = useState(true);
  const [truncated, setTruncated] = useState(false);
  const dropped = useRef(new Set<string>());
  const known = useRef<Map<string, Workspace>>(undefined);
  known.current = items;
  const failed = useRef(false); // the last loading
  const loading = useRef(0);
  const loader = useRef<Loader>(undefined); // from the first loading on
  const early = useRef(false); // a message spoke of what a list under way may not have

  const put = (workspace: Workspace) => {
    if (dropped.current.has(workspace.id)) {
      return;
    }
    setItems((before) => {
      const after = new Map(before);
      const status = newerStatus(before?.get(workspace.id)?.status, workspace.status);
      after.set(workspace.id, { ...workspace, status });
      return after;
    });
  };

  const drop = (id: string) => {
    dropped.current.add(id);
    setItems((before) => {
      const after = new Map(before);
      after.delete(id);
      return after;
    });
  };

  const load = async () => {
    loading.current += 1;
    const { all, truncated: more } = await loadAll().finally(() => { loading.current -= 1; });
    failed.current = false;
    setProblem(undefined);
    setTruncated(more);
    setItems((before) => {
      const left = all.filter((workspace) => !dropped.current.has(workspace.id));
      return new Map(
        left.map((workspace) => [
          workspace.id,
          { ...workspace, status: newerStatus(before?.get(workspace.id)?.status, workspace.status) },
        ]),
      );
    });
    if (early.current && loading.current === 0) {
      early.current = false;
      reload();
    }
  };

  const refused = (error: unknown) => {
    failed.current = true;
    setProblem(errorText(error));
  };

  const reload = () => {
    if (loader.current) {
      loader.current.now();
    } else {
      loader.current = keepLoading(load, refused);
    }
  };

  useEffect(() => {
    loader.current = undefined;
    // The list is read once the stream stands, so that nothing falls between; without one, all the same.
    const patience = setTimeout(reload, PATIENCE_MS);
    const end = watchAll({
      connected(resumed) {
        clearTimeout(patience);
        setLive(true);
        if (!resumed || failed.current) {
          reload();
        }
      },
      reset: reload,
      lost(refusal) {
        setLive(false);
        if (refusal !== undefined) {
          clearTimeout(patience);
          reload(); // tells why, leads to the log-in, and shows what is while there is no stream
        }
      },
      message({ workspaceId, status }) {
        const workspace = known.current?.get(workspaceId);
        early.current ||= !workspace && (!known.current || loading.current > 0);
        if (!status) {
          drop(workspaceId);
        } else if (workspace) {
          put({ ...workspace, status });
        } else if (known.current) {
          api.getWorkspace({ workspaceId }).then(
            (response) => response.workspace && put(response.workspace),
            () => undefined, // deleted meanwhile
          );
        }
      },
    });
    return () => {
      clearTimeout(patience);
      loader.current?.end();
      end();
    };
    // The functions only use setters and refs.
  }, []);

  return { items: items && [...items.values()], problem, live, truncated, put, drop, reload };
}
