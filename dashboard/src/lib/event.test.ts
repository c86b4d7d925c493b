import { describe, expect, it } from "vitest";
import { WorkspacePhase_Phase } from "../gen/gitpod/v1/workspace_pb";
import { parseEvent } from "./event";

describe("parseEvent", () => {
  it("reads a status, and what it does not know beside it", () => {
    const message = parseEvent('{"workspaceId":"amber-fox-k3j9x2m1","status":{"statusVersion":"17","phase":{"name":"PHASE_RUNNING"},"later":1}}');
    expect(message?.workspaceId).toBe("amber-fox-k3j9x2m1");
    expect(message?.status?.statusVersion).toBe(17n);
    expect(message?.status?.phase?.name).toBe(WorkspacePhase_Phase.RUNNING);
  });

  it("reads a deletion", () => {
    expect(parseEvent('{"workspaceId":"amber-fox-k3j9x2m1"}')?.status).toBeUndefined();
  });

  it("takes nothing else", () => {
    for (const data of ["", "{", "null", "[]", "{}", '{"workspaceId":7}', '{"workspaceId":"a","status":"running"}']) {
      expect(parseEvent(data), data).toBeNull();
    }
  });
});
