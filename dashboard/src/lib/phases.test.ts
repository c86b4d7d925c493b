import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { WorkspacePhase_Phase as Phase, WorkspaceStatusSchema } from "../gen/gitpod/v1/workspace_pb";
import { detailOf, emptyTimeline, observe, stateOf, stepOf, stepViews, stopReason, totalMs } from "./phases";

type Init = Partial<Exclude<MessageInitShape<typeof WorkspaceStatusSchema>, { $typeName: string }>>;

const at = (ms: number) => ({ seconds: BigInt(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1e6 });

function status(name: Phase, step = "", more: Init = {}, ms = 0) {
  return create(WorkspaceStatusSchema, {
    phase: { name, lastTransitionTime: ms ? at(ms) : undefined },
    progress: { step },
    instanceId: "i1",
    ...more,
  } as MessageInitShape<typeof WorkspaceStatusSchema>);
}

describe("stateOf", () => {
  it.each([
    [Phase.PREPARING, "starting"],
    [Phase.IMAGEBUILD, "starting"],
    [Phase.PENDING, "starting"],
    [Phase.CREATING, "starting"],
    [Phase.INITIALIZING, "starting"],
    [Phase.RUNNING, "running"],
    [Phase.INTERRUPTED, "running"],
    [Phase.STOPPING, "stopping"],
    [Phase.STOPPED, "stopped"],
    [Phase.UNSPECIFIED, "unknown"],
  ])("phase %i is %s", (phase, state) => expect(stateOf(status(phase))).toBe(state));

  it("a failure shows once it is stopped", () => {
    const failed = { conditions: { failed: "no such branch" } };
    expect(stateOf(status(Phase.STOPPED, "", failed))).toBe("failed");
    expect(stateOf(status(Phase.STOPPING, "", failed))).toBe("stopping");
  });
});

describe("stepOf", () => {
  it.each([
    [Phase.PREPARING, "", "preparing"],
    [Phase.CREATING, "Creating the container", "creating"],
    [Phase.PREPARING, "Cloning the repository", "preparing"],
    [Phase.CREATING, "Cloning the repository", "creating"],
    [Phase.INITIALIZING, "Cloning the repository", "content"],
    [Phase.INITIALIZING, "", "content"],
    [Phase.INITIALIZING, "Starting the editor", "editor"],
    [Phase.INITIALIZING, "Waiting for VS Code", "editor"],
    [Phase.RUNNING, "", "ready"],
    [Phase.STOPPED, "", undefined],
  ])("phase %i with %j is %s", (phase, text, step) => expect(stepOf(status(phase, text))).toBe(step));
});

describe("detailOf", () => {
  const detail = (step: "creating" | "content" | "editor", text: string, more = "") =>
    detailOf(step, status(Phase.INITIALIZING, text, { progress: { step: text, detail: more, percent: 5 } }));
  it("is the progress, without repeating the title of a step", () => {
    expect(detail("content", "Cloning the repository", "43 %")).toEqual({ text: "Cloning the repository: 43 %", percent: 5 });
    expect(detail("editor", "Starting the editor")).toEqual({ text: "", percent: 5 });
    expect(detail("editor", "Starting the editor", "second try").text).toBe("second try");
    expect(detail("content", "Creating the container", "x")).toEqual({ text: "", percent: -1 });
  });
});

describe("the timeline", () => {
  const run = (...statuses: ReturnType<typeof status>[]) =>
    statuses.reduce((timeline, next) => observe(timeline, next, 99_000), emptyTimeline(""));

  const whole = [
    status(Phase.PREPARING, "", {}, 10_000),
    status(Phase.CREATING, "", {}, 10_200),
    status(Phase.INITIALIZING, "Cloning the repository", {}, 10_500),
    status(Phase.INITIALIZING, "Starting the editor", { progress: { step: "Starting the editor", since: at(12_500) } }, 10_500),
    status(Phase.RUNNING, "", {}, 13_000),
  ];

  it("gives each step its own time", () => {
    const views = stepViews(run(...whole), "running", 50_000);
    expect(views.map((view) => view.elapsedMs)).toEqual([200, 300, 2000, 500, undefined]);
    expect(views.every((view) => view.state === "done")).toBe(true);
    expect(totalMs(run(...whole), 50_000)).toBe(3000);
  });

  it("counts on while a step runs", () => {
    const timeline = run(...whole.slice(0, 3));
    const views = stepViews(timeline, "starting", 11_500);
    expect(views.map((view) => view.state)).toEqual(["done", "done", "active", "waiting", "waiting"]);
    expect(views[2]!.elapsedMs).toBe(1000);
    expect(totalMs(timeline, 11_500)).toBe(1500);
  });

  it("does not go back for a late message, and not below zero for a clock that is off", () => {
    expect(run(whole[2]!, whole[0]!)).toEqual(run(whole[2]!));
    expect(stepViews(run(whole[0]!), "starting", 9_000)[0]!.elapsedMs).toBe(0);
    expect(run(whole[1]!, status(Phase.RUNNING, "", {}, 5_000)).begin.ready).toBe(10_200);
  });

  it("ends where the start failed", () => {
    const failed = status(Phase.STOPPED, "", { conditions: { failed: "x" } }, 11_000);
    const timeline = run(whole[0]!, whole[1]!, whole[2]!, failed, failed);
    const views = stepViews(timeline, "failed", 60_000);
    expect(views.map((view) => view.state)).toEqual(["done", "done", "failed", "waiting", "waiting"]);
    expect(views[2]!.elapsedMs).toBe(500);
  });

  it("begins anew with the next instance", () => {
    const timeline = run(...whole, status(Phase.PREPARING, "", { instanceId: "i2" }, 80_000));
    expect(timeline).toEqual({ instance: "i2", begin: { preparing: 80_000 } });
  });

  it("begins anew after an end, even where no instance is named", () => {
    const timeline = run(...whole, status(Phase.STOPPED, "", {}, 14_000), status(Phase.PREPARING, "", {}, 80_000));
    expect(timeline).toEqual({ instance: "i1", begin: { preparing: 80_000 } });
  });

  it("says what is waiting before anything is known", () => {
    expect(stepViews(emptyTimeline(""), "starting", 1)[0]!.state).toBe("active");
    expect(totalMs(emptyTimeline(""), 1)).toBeUndefined();
  });
});

describe("stopReason", () => {
  it("is the failure, the time-out, or a plain stop", () => {
    expect(stopReason(status(Phase.STOPPED, "", { conditions: { failed: "disk full" } }))).toBe("disk full");
    expect(stopReason(status(Phase.STOPPED, "", { conditions: { timeout: "30m" } }))).toContain("nobody used it for 30m");
    expect(stopReason(status(Phase.STOPPED))).toBe("It was stopped.");
  });
});
