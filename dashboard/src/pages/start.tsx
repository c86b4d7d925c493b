// The start page: what is being done, how long it has taken, why it stopped.
import { useEffect, useRef, useState } from "react";
import { StepList } from "../components/step_list";
import { Badge, Hint, Link, Loading, OutLink, Problem, useNow, useTitle } from "../components/parts";
import { BranchIcon } from "../components/icons";
import { WorkspacePhase_Phase as Phase, type Workspace } from "../gen/gitpod/v1/workspace_pb";
import { gitHost } from "../lib/context";
import { gitTokenHref, hostInText, wantsGitToken } from "../lib/errors";
import { lastStep, type State, stateOf, stopReason, totalMs } from "../lib/phases";
import { formatElapsed } from "../lib/time";
import { useStart } from "../lib/use_start";
import { branchOf, contextOf, nameOf, unsavedText } from "../lib/workspace";

const TITLES: Record<State, string> = {
  starting: "Starting",
  running: "Ready",
  stopping: "Stopping",
  stopped: "Stopped",
  failed: "Failed",
  unknown: "Looking",
};

export function StartPage({ id }: { id: string }) {
  const start = useStart(id);
  const { workspace } = start;
  const state = stateOf(workspace?.status);
  useTitle(workspace ? `${TITLES[state]}: ${nameOf(workspace)}` : "Workspace");

  if (!workspace) {
    return (
      <main className="narrow page" id="main" tabIndex={-1}>
        {start.problem ? (
          <>
            <h1>{start.missing ? "There is no such workspace" : "The workspace cannot be shown"}</h1>
            <Problem text={start.problem} />
            {start.missing && (
              <p className="note">No workspace <code>{id}</code> is yours: it was deleted, belongs to somebody else, or the link is mistyped.</p>
            )}
            <div className="actions">
              {!start.missing && <button type="button" className="button primary" onClick={start.reload}>Try again</button>}
              <Link className="button" href="/workspaces">Workspaces</Link>
            </div>
          </>
        ) : (
          <Loading what="Looking for the workspace…" />
        )}
      </main>
    );
  }
  return (
    <main className="narrow page" id="main" tabIndex={-1}>
      <Heading workspace={workspace} state={state} />
      {start.lost && (
        <p className="offline" role="status"><span className="spinner" aria-hidden="true" />Reconnecting; this is the last that was heard</p>
      )}
      <Body workspace={workspace} state={state} start={start} />
      <Warnings warnings={workspace.metadata?.warnings ?? []} />
      <p className="note"><Link href="/workspaces">All workspaces</Link></p>
    </main>
  );
}

function Heading({ workspace, state }: { workspace: Workspace; state: State }) {
  const context = contextOf(workspace);
  const branch = branchOf(workspace);
  return (
    <div className="start-head">
      <div className="title-row">
        <h1>{nameOf(workspace)}</h1>
        <Badge state={state} />
      </div>
      <p className="row-context">
        {context.href ? <OutLink href={context.href}>{context.text}</OutLink> : context.text}
        {branch && <span className="branch"><BranchIcon />{branch}</span>}
      </p>
    </div>
  );
}

function Warnings({ warnings }: { warnings: string[] }) {
  if (warnings.length === 0) {
    return null;
  }
  return (
    <Hint tone="warn">
      <p><strong>Not everything the repository asks for is done</strong></p>
      <ul>{warnings.map((warning) => <li key={warning}>{warning}</li>)}</ul>
    </Hint>
  );
}

type Start = ReturnType<typeof useStart>;

function Body({ workspace, state, start }: { workspace: Workspace; state: State; start: Start }) {
  switch (state) {
    case "starting":
      return <Starting workspace={workspace} start={start} />;
    case "running":
      return <Running workspace={workspace} start={start} />;
    case "stopping":
      return <Stopping workspace={workspace} start={start} />;
    default:
      return <Stopped workspace={workspace} start={start} state={state} />;
  }
}

function Starting({ workspace, start }: { workspace: Workspace; start: Start }) {
  const now = useNow(100);
  const total = totalMs(start.timeline, now);
  return (
    <>
      <section className="card" aria-label="Start">
        <StepList timeline={start.timeline} status={workspace.status} state="starting" now={now} />
        <p className="total">
          <span>In all</span>
          <span className="elapsed">{total === undefined ? "" : formatElapsed(total)}</span>
        </p>
      </section>
      {start.actionProblem && <Problem text={start.actionProblem} />}
      <div className="actions">
        <button type="button" className="button" onClick={start.stop} disabled={start.busy !== undefined}>
          {start.busy ?? "Stop"}
        </button>
        <p className="note">The editor opens by itself. You may close this page: the start goes on.</p>
      </div>
    </>
  );
}

function Running({ workspace, start }: { workspace: Workspace; start: Start }) {
  const url = workspace.status?.workspaceUrl ?? "";
  const interrupted = workspace.status?.phase?.name === Phase.INTERRUPTED;
  const waiting = start.opensAtMs !== undefined;
  const now = useNow(250, waiting);
  const seconds = Math.max(0, Math.ceil(((start.opensAtMs ?? now) - now) / 1000));
  const total = totalMs(start.timeline, now);
  return (
    <>
      {lastStep(start.timeline) && (
        <section className="card" aria-label="Start">
          <StepList timeline={start.timeline} status={workspace.status} state="running" now={now} />
          {total !== undefined && total > 0 && (
            <p className="total"><span>In all</span><span className="elapsed">{formatElapsed(total)}</span></p>
          )}
        </section>
      )}
      {interrupted && <Hint tone="warn">The machine that runs it does not answer at the moment. This page follows what happens.</Hint>}
      {url === "" ? (
        <Hint tone="warn">The workspace runs, but the server gave no address for it. Stop it and start it again.</Hint>
      ) : (
        <div className="actions">
          <a className="button primary" href={url}>Open the editor</a>
          {waiting && <button type="button" className="button" onClick={start.stay}>Wait, I am reading</button>}
          <p className="note">{waiting ? `Opens by itself in ${seconds} s` : url}</p>
        </div>
      )}
    </>
  );
}

function Stopping({ workspace, start }: { workspace: Workspace; start: Start }) {
  const progress = workspace.status?.progress;
  const failed = workspace.status?.conditions?.failed;
  const now = useNow(1000, false);
  return (
    <>
      {failed && <Problem text={failed} />}
      {failed && lastStep(start.timeline) && start.timeline.begin.ready === undefined && (
        <section className="card" aria-label="How far the start came">
          <StepList timeline={start.timeline} status={workspace.status} state="failed" now={now} />
        </section>
      )}
      <section className="card">
        <p className="loading" role="status">
          <span className="spinner" aria-hidden="true" />
          {[progress?.step || "Stopping the workspace", progress?.detail].filter(Boolean).join(": ")}
        </p>
        <p className="note">The files in it are kept, committed or not. When it has stopped you can start it again here.</p>
      </section>
    </>
  );
}

function Stopped({ workspace, start, state }: { workspace: Workspace; start: Start; state: State }) {
  const failed = state === "failed";
  const reason = stopReason(workspace.status);
  const unsaved = unsavedText(workspace.status);
  const button = useRef<HTMLButtonElement>(null);
  const [now] = useState(() => Date.now());
  const host = hostInText(reason) ?? gitHost(workspace.metadata?.originalContextUrl ?? "");
  const neverReady = failed && start.timeline.begin.ready === undefined;

  useEffect(() => button.current?.focus({ preventScroll: true }), []);

  return (
    <>
      {failed ? (
        <Problem text={reason}>
          {wantsGitToken(reason) && (
            <Link className="button small" href={gitTokenHref(host, `/start/#${workspace.id}`)}>Add a Git token for {host || "its host"}</Link>
          )}
        </Problem>
      ) : (
        <section className="card">
          <p>{reason} The files in it are kept.</p>
          {unsaved && <p className="row-note"><span className="chip">{unsaved}</span></p>}
        </section>
      )}
      {neverReady && lastStep(start.timeline) && (
        <section className="card" aria-label="How far the start came">
          <StepList timeline={start.timeline} status={workspace.status} state="failed" now={now} />
        </section>
      )}
      {start.actionProblem && <Problem text={start.actionProblem} />}
      <div className="actions">
        <button ref={button} type="button" className="button primary" onClick={start.start} disabled={start.busy !== undefined}>
          {start.busy ?? (failed ? "Try again" : "Open workspace")}
        </button>
        <p className="note">{failed ? "Starts it again. Files that it has are kept." : "Starts it and opens the editor."}</p>
      </div>
    </>
  );
}
