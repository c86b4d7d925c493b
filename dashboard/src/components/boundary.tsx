// The page that shows when the dashboard itself fails.
import { Component, type ReactNode } from "react";
import { errorText } from "../lib/errors";
import { Problem } from "./parts";

export class Boundary extends Component<{ children: ReactNode }, { error?: unknown }> {
  state: { error?: unknown } = {};

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  render() {
    if (this.state.error === undefined) {
      return this.props.children;
    }
    return (
      <main className="narrow page" id="main" tabIndex={-1}>
        <h1>This page broke</h1>
        <p className="lead">The fault is in the dashboard. Workspaces and what is in them are not touched by it.</p>
        <Problem text={errorText(this.state.error)} />
        <div className="actions">
          <button type="button" className="button primary" onClick={() => location.reload()}>Load again</button>
          <a className="button" href="/workspaces">Workspaces</a>
        </div>
      </main>
    );
  }
}
