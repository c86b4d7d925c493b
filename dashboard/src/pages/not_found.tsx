import { Link, useTitle } from "../components/parts";

export function NotFoundPage() {
  useTitle("Not found");
  return (
    <main className="narrow page" id="main" tabIndex={-1}>
      <p className="status-code">404</p>
      <h1>There is no such page</h1>
      <p className="lead">
        Nothing of the dashboard is at <code>{location.pathname}</code>. To start a workspace, put the address of a
        repository behind a hash: <code>{location.host}/#https://…</code>
      </p>
      <div className="actions">
        <Link className="button primary" href="/workspaces">Workspaces</Link>
      </div>
    </main>
  );
}
