// The phases of a start, one under the other, each with its own time.
import type { WorkspaceStatus } from "../gen/gitpod/v1/workspace_pb";
import { detailOf, type State, type StepState, type StepView, stepViews, type Timeline } from "../lib/phases";
import { formatElapsed } from "../lib/time";
import { CheckIcon, CrossIcon } from "./icons";

const STATE_WORDS: Record<StepState, string> = {
  waiting: "waiting",
  active: "in progress",
  done: "done",
  failed: "failed",
};

const LONG_MS = 30_000;

function StepMark({ state }: { state: StepState }) {
  return (
    <span className="step-mark" aria-hidden="true">
      {state === "done" && <CheckIcon />}
      {state === "failed" && <CrossIcon />}
      {state === "active" && <span className="spinner" />}
    </span>
  );
}

function StepDetail({ view, status }: { view: StepView; status: WorkspaceStatus | undefined }) {
  const { text, percent } = detailOf(view.step, status);
  return (
    <>
      {text && <p className="step-detail">{text}</p>}
      {percent >= 0 && text && <progress className="bar" max={100} value={percent} aria-label={text} />}
      {(view.elapsedMs ?? 0) > LONG_MS && (
        <p className="step-detail dim">This takes a while. Nothing to do: it goes on, or ends with a reason.</p>
      )}
    </>
  );
}

interface StepListProps {
  timeline: Timeline;
  status: WorkspaceStatus | undefined;
  state: State;
  now: number;
}

export function StepList({ timeline, status, state, now }: StepListProps) {
  const views = stepViews(timeline, state, now);
  const active = views.find((view) => view.state === "active");
  return (
    <>
      <ol className="steps">
        {views.map((view) => (
          <li key={view.step} className={`step ${view.state}`} aria-current={view.state === "active" ? "step" : undefined}>
            <StepMark state={view.state} />
            <div className="step-what">
              <p className="step-title">{view.title}<span className="hidden-label">, {STATE_WORDS[view.state]}</span></p>
              {view.state === "active" && <StepDetail view={view} status={status} />}
            </div>
            <span className="elapsed">{view.elapsedMs === undefined ? "" : formatElapsed(view.elapsedMs)}</span>
          </li>
        ))}
      </ol>
      <p className="hidden-label" role="status">{active ? active.title : ""}</p>
    </>
  );
}
