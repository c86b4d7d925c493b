// The public API, same origin, cookie of the session.
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { GitTokenService } from "../gen/gitpod/extension/v1/git_token_pb";
import { UserService } from "../gen/gitpod/v1/user_pb";
import { WorkspaceService } from "../gen/gitpod/v1/workspace_pb";
import { repeatReads } from "./again";
import { toLogin } from "./session";

const signedOut: Interceptor = (next) => async (request) => {
  try {
    return await next(request);
  } catch (error) {
    if (error instanceof ConnectError && error.code === Code.Unauthenticated) {
      toLogin();
    }
    throw error;
  }
};

const transport = createConnectTransport({
  baseUrl: `${location.origin}/public-api`,
  interceptors: [signedOut, repeatReads],
});

export const workspaces = createClient(WorkspaceService, transport);
export const users = createClient(UserService, transport);
export const gitTokens = createClient(GitTokenService, transport);
