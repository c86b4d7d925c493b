// What comes by /api/events.
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { type WatchWorkspaceStatusResponse, WatchWorkspaceStatusResponseSchema } from "../gen/gitpod/v1/workspace_pb";

/** The data of an event "workspace"; null: not a message that we know. */
export function parseEvent(data: string): WatchWorkspaceStatusResponse | null {
  try {
    const message = fromJson(WatchWorkspaceStatusResponseSchema, JSON.parse(data) as JsonValue, { ignoreUnknownFields: true });
    return message.workspaceId === "" ? null : message;
  } catch {
    return null;
  }
}
