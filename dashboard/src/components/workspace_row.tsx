// One workspace of the list with everything that can be done to it.
import { type ReactNode, useState } from "react";
import type { Workspace } from "../gen/gitpod/v1/workspace_pb";
import { workspaces } from "../lib/api";
import { errorText } from "../lib/errors";
import { stateOf, stopReason } from "../lib/phases";
import { navigate } from "../lib/route";
import { branchOf, contextOf, idleText, lastUsedMs, nameOf, unsavedText } from "../lib/workspace";
import { BranchIcon, CrossIcon, EditIcon, PinIcon, StopIcon, TrashIcon } from "./icons";
import { Ago, Badge, Link, OutLink } from "./parts";
import { DeleteDialog, RenameDialog } from "./workspace_dialogs";

interface RowProps {
  workspace: Workspace;
  now: number;
  onChange: (workspace: Workspace) => void;
  onGone: (id: string) => void;
}

export function WorkspaceRow({ workspace, now, onChange, onGone }: RowProps) {
  const [dialog, setDialog] = useState<"rename" | "delete">();
  const [busy, setBusy] = useState<string>();
  const [problem, setProblem] = useState<string>();
  const id = workspace.id;
  const name = nameOf(workspace);
  const state = stateOf(workspace.status);
  const context = contextOf(workspace);
  const branch = branchOf(workspace);
  const unsaved = unsavedText(workspace.status);
  const pinned = workspace.metadata?.pinned ?? false;

  const act = async (what: string, action: () => Promise<void>) => {
    setBusy(what);
    setProblem(undefined);
    try {
      await action();
    } catch (error) {
      setProblem(errorText(error));
    } finally {
      setBusy(undefined);
    }
  };
  const start = () =>
    act("Starting…", async () => {
      await workspaces.startWorkspace({ workspaceId: id });
      navigate(`/start/#${id}`);
    });
  const stop = () => act("Stopping…", async () => void (await workspaces.stopWorkspace({ workspaceId: id })));
  const pin = () =>
    act(pinned ? "Unpinning…" : "Pinning…", async () => {
      const response = await workspaces.updateWorkspace({ workspaceId: id, metadata: { pinned: !pinned } });
      if (response.workspace) {
        onChange(response.workspace);
      }
    });

  return (
    <li className="workspace-row" data-workspace-id={id} data-state={state}>
      <div className="row-state"><Badge state={state} /></div>
      <div className="row-main">
        <p className="row-name">
          <Link href={`/start/#${id}`}>{name}</Link>
        </p>
        <p className="row-context">
          {context.href ? <OutLink href={context.href}>{context.text}</OutLink> : context.text}
          {branch && <span className="branch"><BranchIcon />{branch}</span>}
        </p>
        <RowNote workspace={workspace} state={state} unsaved={unsaved} />
        <RowWarnings warnings={workspace.metadata?.warnings ?? []} />
        {problem && (
          <p className="field-problem pre" role="alert">
            {problem}{" "}
            <button type="button" className="text-button" onClick={() => setProblem(undefined)} aria-label="Dismiss"><CrossIcon /></button>
          </p>
        )}
      </div>
      <div className="row-used dim"><Ago atMs={lastUsedMs(workspace)} nowMs={now} /></div>
      <div className="row-actions">
        <PrimaryAction workspace={workspace} state={state} busy={busy} onStart={() => void start()} />
        {(state === "running" || state === "starting") && (
          <IconButton label={`Stop ${name}`} icon={<StopIcon />} disabled={busy !== undefined} onClick={() => void stop()} />
        )}
        <IconButton label={pinned ? `Unpin ${name}` : `Pin ${name}`} icon={<PinIcon />} pressed={pinned}
          disabled={busy !== undefined} onClick={() => void pin()} />
        <IconButton label={`Rename ${name}`} icon={<EditIcon />} onClick={() => setDialog("rename")} />
        <IconButton label={`Delete ${name}`} icon={<TrashIcon />} onClick={() => setDialog("delete")} danger />
      </div>
      {dialog === "rename" && (
        <RenameDialog workspace={workspace} onChange={onChange} onClose={() => setDialog(undefined)} />
      )}
      {dialog === "delete" && (
        <DeleteDialog workspace={workspace} onGone={onGone} onClose={() => setDialog(undefined)} />
      )}
    </li>
  );
}

function IconButton({ label, icon, onClick, disabled, pressed, danger }: {
  label: string;
  icon: ReactNode;
  onClick: () => void;
  disabled?: boolean;
  pressed?: boolean;
  danger?: boolean;
}) {
  return (
    <button type="button" className={danger ? "button ghost icon-only danger-hover" : "button ghost icon-only"}
      aria-label={label} title={label.split(" ")[0]} aria-pressed={pressed} disabled={disabled} onClick={onClick}>
      {icon}
    </button>
  );
}

function PrimaryAction({ workspace, state, busy, onStart }: {
  workspace: Workspace;
  state: ReturnType<typeof stateOf>;
  busy: string | undefined;
  onStart: () => void;
}) {
  const name = nameOf(workspace);
  if (busy) {
    return <button type="button" className="button" disabled>{busy}</button>;
  }
  if (state === "running" && workspace.status?.workspaceUrl) {
    return <a className="button primary" href={workspace.status.workspaceUrl} aria-label={`Open ${name}`}>Open</a>;
  }
  if (state === "stopped" || state === "failed") {
    return <button type="button" className="button" onClick={onStart} aria-label={`Start ${name}`}>Start</button>;
  }
  return <Link className="button" href={`/start/#${workspace.id}`} aria-label={`Watch ${name}`}>Watch</Link>;
}

function RowWarnings({ warnings }: { warnings: string[] }) {
  if (warnings.length === 0) {
    return null;
  }
  return (
    <details className="row-warnings">
      <summary>{warnings.length === 1 ? "1 thing the repository asks for is not done" : `${warnings.length} things the repository asks for are not done`}</summary>
      <ul>{warnings.map((warning) => <li key={warning}>{warning}</li>)}</ul>
    </details>
  );
}

function RowNote({ workspace, state, unsaved }: { workspace: Workspace; state: string; unsaved: string }) {
  const progress = workspace.status?.progress;
  const parts: string[] = [];
  if (state === "starting" || state === "stopping") {
    parts.push([progress?.step, progress?.detail].filter(Boolean).join(": "));
  } else if (state === "failed") {
    parts.push(stopReason(workspace.status));
  } else if (state === "stopped" && workspace.status?.conditions?.timeout) {
    parts.push("Stopped by itself: nobody used it");
  } else if (state === "running") {
    parts.push(idleText(workspace));
  }
  const text = parts.filter(Boolean).join(" ");
  if (text === "" && unsaved === "") {
    return null;
  }
  return (
    <p className="row-note">
      {text && <span className={state === "failed" ? "bad-text clamp" : "dim"} title={state === "failed" ? text : undefined}>{text}</span>}
      {unsaved && <span className="chip">{unsaved}</span>}
    </p>
  );
}
