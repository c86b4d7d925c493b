// Rename and delete.
import { useState } from "react";
import type { Workspace } from "../gen/gitpod/v1/workspace_pb";
import { workspaces } from "../lib/api";
import { stateOf } from "../lib/phases";
import { contextOf, nameOf, unsavedText } from "../lib/workspace";
import { Dialog } from "./dialog";
import { Hint } from "./parts";

export function RenameDialog({ workspace, onChange, onClose }: {
  workspace: Workspace;
  onChange: (workspace: Workspace) => void;
  onClose: () => void;
}) {
  const [name, setName] = useState(nameOf(workspace));
  const rename = async () => {
    const response = await workspaces.updateWorkspace({ workspaceId: workspace.id, metadata: { name: name.trim() } });
    if (response.workspace) {
      onChange(response.workspace);
    }
  };
  return (
    <Dialog title="Rename the workspace" action="Rename" busy="Renaming…" disabled={name.trim() === ""}
      onClose={onClose} onAction={rename}>
      <label>
        <span className="label">Name</span>
        <input className="input" type="text" value={name} maxLength={255} autoFocus
          onFocus={(event) => event.target.select()} onChange={(event) => setName(event.target.value)} />
      </label>
      <p className="note">Its address stays <code>{workspace.id}</code>: links and bookmarks go on working.</p>
    </Dialog>
  );
}

export function DeleteDialog({ workspace, onGone, onClose }: {
  workspace: Workspace;
  onGone: (id: string) => void;
  onClose: () => void;
}) {
  const state = stateOf(workspace.status);
  const unsaved = unsavedText(workspace.status);
  const remove = async () => {
    await workspaces.deleteWorkspace({ workspaceId: workspace.id });
    onGone(workspace.id);
  };
  return (
    <Dialog title={`Delete ${nameOf(workspace)}?`} action="Delete for good" busy="Deleting…" danger
      onClose={onClose} onAction={remove}>
      <p>
        <code>{workspace.id}</code> from {contextOf(workspace).text || "an unknown repository"}
        {state === "running" || state === "starting" ? " is stopped and removed" : " is removed"} with every file in it.
        This cannot be undone.
      </p>
      {unsaved ? (
        <Hint tone="warn">Lost with it: <strong>{unsaved}</strong>. Push or download them first if you want to keep them.</Hint>
      ) : (
        <p className="note">Whatever was not pushed to the Git host is lost with it.</p>
      )}
    </Dialog>
  );
}
