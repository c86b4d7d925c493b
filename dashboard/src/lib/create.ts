// Creating a workspace once: the key survives a reload of the page, and goes
// when the workspace is there, so that the same URL opened later makes a new one.
import { Code } from "@connectrpc/connect";
import { workspaces } from "./api";
import { isCode } from "./errors";
import { forget, keep, kept } from "./storage";

const running = new Map<string, Promise<string>>();

function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Whether the server refused for good: then nothing was made and the key is spent. */
function isRefusal(error: unknown): boolean {
  return isCode(
    error, Code.InvalidArgument, Code.NotFound, Code.PermissionDenied, Code.FailedPrecondition,
    Code.ResourceExhausted, Code.Unimplemented,
  );
}

async function send(context: string, storageKey: string, key: string): Promise<string> {
  const response = await workspaces.createAndStartWorkspace({
    metadata: { annotations: { "idempotency-key": key } },
    source: { case: "contextUrl", value: { url: context } },
  });
  const id = response.workspace?.id;
  if (!id) {
    throw new Error("The server said that it made a workspace, but not which. Look at the list of workspaces.");
  }
  forget("session", storageKey);
  return id;
}

/** The id of the workspace made for this context URL. */
export function createWorkspace(context: string): Promise<string> {
  const storageKey = `create.${context}`;
  const key = kept("session", storageKey) ?? randomKey();
  keep("session", storageKey, key);
  let result = running.get(key);
  if (!result) {
    result = send(context, storageKey, key)
      .catch((error: unknown) => {
        if (isRefusal(error)) {
          forget("session", storageKey);
        }
        throw error;
      })
      .finally(() => running.delete(key));
    running.set(key, result);
  }
  return result;
}
