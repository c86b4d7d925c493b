// The list of workspaces, and the form for a new one.
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { NewWorkspace } from "../components/new_workspace";
import { EmptyState } from "../components/empty_state";
import { SearchIcon } from "../components/icons";
import { Hint, Loading, Problem, useNow, useTitle } from "../components/parts";
import { WorkspaceRow } from "../components/workspace_row";
import { stateOf } from "../lib/phases";
import { useWorkspaces } from "../lib/use_workspaces";
import { compareWorkspaces, matches } from "../lib/workspace";

export function WorkspacesPage() {
  useTitle("Workspaces");
  const list = useWorkspaces();
  const [term, setTerm] = useState("");
  const [url, setUrl] = useState("");
  const search = useRef<HTMLInputElement>(null);
  const now = useNow(20_000);

  useEffect(() => {
    const slash = (event: globalThis.KeyboardEvent) => {
      const typing = /^(input|textarea|select)$/i.test((event.target as HTMLElement).tagName);
      if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !document.querySelector("dialog[open]")) {
        event.preventDefault();
        search.current?.focus();
      }
    };
    document.addEventListener("keydown", slash);
    return () => document.removeEventListener("keydown", slash);
  }, []);

  const clear = (event: KeyboardEvent) => {
    if (event.key === "Escape" && term !== "") {
      event.preventDefault();
      setTerm("");
    }
  };

  const all = list.items ?? [];
  const shown = all.filter((workspace) => matches(workspace, term.trim())).sort(compareWorkspaces);
  const running = all.filter((workspace) => ["running", "starting"].includes(stateOf(workspace.status))).length;

  return (
    <main className="page" id="main" tabIndex={-1}>
      <div className="title-row">
        <h1>Workspaces</h1>
        {list.items && all.length > 0 && (
          <p className="dim count">{all.length} in all, {running} running</p>
        )}
        {!list.live && <p className="offline" role="status"><span className="spinner" aria-hidden="true" />Reconnecting; states may be old</p>}
      </div>
      <NewWorkspace url={url} onUrl={setUrl} />
      {list.problem && (
        <Problem text={list.problem}>
          <button type="button" className="button small" onClick={list.reload}>Try again</button>
        </Problem>
      )}
      {!list.items && !list.problem && <Loading what="Loading the workspaces…" />}
      {list.items && all.length === 0 && <EmptyState onExample={setUrl} />}
      {all.length > 0 && (
        <>
          <label className="search">
            <SearchIcon />
            <span className="hidden-label">Search the workspaces</span>
            <input ref={search} className="input" type="search" value={term} spellCheck={false}
              placeholder="Search by name, repository, branch or state" onKeyDown={clear}
              onChange={(event) => setTerm(event.target.value)} />
            <kbd aria-hidden="true">/</kbd>
          </label>
          <p className="hidden-label" role="status">{term ? `${shown.length} found` : ""}</p>
          {shown.length > 0 ? (
            <ul className="list workspaces" aria-label="Workspaces">
              {shown.map((workspace) => (
                <WorkspaceRow key={workspace.id} workspace={workspace} now={now} onChange={list.put} onGone={list.drop} />
              ))}
            </ul>
          ) : (
            <p className="nothing">
              Nothing matches “{term}”. <button type="button" className="text-button" onClick={() => setTerm("")}>Show all</button>
            </p>
          )}
          {list.truncated && <Hint>Only the first {all.length} are shown. Delete old ones to see the rest.</Hint>}
        </>
      )}
    </main>
  );
}
