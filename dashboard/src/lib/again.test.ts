import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { backoffMs, keepLoading, repeatReads } from "./again";

const network = () => new ConnectError("Failed to fetch", Code.Internal);
type Request = Parameters<ReturnType<Interceptor>>[0];

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** What a call met at each of its tries, and how it ended. */
async function call(name: string, ...outcomes: (Error | string)[]) {
  const tried: number[] = [];
  const began = Date.now();
  const next = vi.fn(async () => {
    tried.push(Date.now() - began);
    const outcome = outcomes[Math.min(tried.length, outcomes.length) - 1];
    if (outcome instanceof Error) {
      throw outcome;
    }
    return outcome;
  });
  const request = { stream: false, method: { name }, signal: new AbortController().signal } as unknown as Request;
  const end = repeatReads(next as never)(request).then(String, (error: Error) => error);
  await vi.advanceTimersByTimeAsync(60_000);
  return { tried, end: await end };
}

describe("repeatReads", () => {
  it("repeats what only reads twice when the network failed", async () => {
    expect(await call("ListWorkspaces", network(), network(), "there")).toEqual({ tried: [0, 500, 2500], end: "there" });
    const lost = network();
    expect(await call("GetWorkspace", lost)).toEqual({ tried: [0, 500, 2500], end: lost });
  });

  it("lets an answer of the server stand", async () => {
    const refusal = new ConnectError("starting", Code.Unavailable);
    expect(await call("ListWorkspaces", refusal)).toEqual({ tried: [0], end: refusal });
    expect(await call("ListWorkspaces", network(), refusal)).toEqual({ tried: [0, 500], end: refusal });
  });

  it("never repeats what changes something", async () => {
    const lost = network();
    expect(await call("StartWorkspace", lost)).toEqual({ tried: [0], end: lost });
  });

  it("ends when the caller lets go", async () => {
    const stop = new AbortController();
    const next = vi.fn(async () => { throw network(); });
    const request = { stream: false, method: { name: "GetWorkspace" }, signal: stop.signal } as unknown as Request;
    const end = expect(repeatReads(next as never)(request)).rejects.toThrow("enough");
    await vi.advanceTimersByTimeAsync(100);
    stop.abort(new Error("enough"));
    await end;
    expect(next).toHaveBeenCalledTimes(1);
  });
});

describe("keepLoading", () => {
  it("tries again later and later until it is there", async () => {
    const load = vi.fn<() => Promise<void>>().mockRejectedValue(network());
    const failed = vi.fn();
    const loader = keepLoading(load, failed);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(load).toHaveBeenCalledTimes(2);
    await vi.advanceTimersByTimeAsync(58_000);
    const calls = load.mock.calls.length;
    expect(calls).toBeGreaterThanOrEqual(6);
    expect(calls).toBeLessThanOrEqual(9);
    expect(failed).toHaveBeenCalledTimes(calls);
    load.mockResolvedValue();
    await vi.advanceTimersByTimeAsync(120_000);
    expect(load).toHaveBeenCalledTimes(calls + 1);
    loader.now();
    expect(load).toHaveBeenCalledTimes(calls + 2);
    loader.end();
  });

  it("does not ask again what the server has decided", async () => {
    const load = vi.fn().mockRejectedValue(new ConnectError("no such workspace", Code.NotFound));
    keepLoading(load, () => undefined);
    await vi.advanceTimersByTimeAsync(120_000);
    expect(load).toHaveBeenCalledTimes(1);
  });

  it("goes by the last load when several are under way", async () => {
    const ends: { well: () => void; ill: (error: unknown) => void }[] = [];
    const load = vi.fn().mockImplementation(() => new Promise<void>((well, ill) => ends.push({ well, ill })));
    const failed = vi.fn();
    const loader = keepLoading(load, failed);
    loader.now();
    ends[1]?.well();
    ends[0]?.ill(network());
    await vi.advanceTimersByTimeAsync(120_000);
    expect(failed).not.toHaveBeenCalled();
    expect(load).toHaveBeenCalledTimes(2);
    loader.now();
    loader.now();
    ends[3]?.ill(network());
    await vi.advanceTimersByTimeAsync(1);
    ends[2]?.well();
    expect(failed).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(3_000);
    expect(load).toHaveBeenCalledTimes(5);
    loader.end();
  });

  it("ends with the page, a load under way too", async () => {
    const load = vi.fn().mockImplementation(() => new Promise((_, reject) => setTimeout(() => reject(network()), 1_000)));
    const failed = vi.fn();
    const loader = keepLoading(load, failed);
    loader.end();
    loader.now();
    await vi.advanceTimersByTimeAsync(120_000);
    expect(load).toHaveBeenCalledTimes(1);
    expect(failed).not.toHaveBeenCalled();
  });
});

describe("backoffMs", () => {
  it("grows and is bounded", () => {
    expect([0, 1, 2, 4, 5, 99].map((attempt) => backoffMs(attempt, 1))).toEqual([500, 1000, 2000, 8000, 15000, 15000]);
    expect(backoffMs(0, 0)).toBe(350);
  });
});
