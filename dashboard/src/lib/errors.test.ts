import { Code, ConnectError } from "@connectrpc/connect";
import { expect, it } from "vitest";
import { errorText, hostInText, wantsGitToken } from "./errors";
import { hostHelp } from "./git_hosts";

it("shows the server's own words", () => {
  const text = "https://h/x: no branch \"nope\"; branches are main, dev";
  expect(errorText(new ConnectError(text, Code.InvalidArgument))).toBe(text);
  expect(errorText(new ConnectError("context_url: " + text, Code.InvalidArgument))).toBe(text);
});

it("explains a bare status, a lost connection and an empty text", () => {
  expect(errorText(new ConnectError("HTTP 502", Code.Unavailable))).toContain("did not answer");
  expect(errorText(new ConnectError("HTTP 418", Code.Unknown))).toContain("418");
  expect(errorText(new TypeError("Failed to fetch"))).toContain("cannot be reached");
  expect(errorText(new ConnectError("", Code.Internal))).toContain("Internal");
  expect(errorText("odd")).toContain("odd");
});

it("knows when a Git host wants a token", () => {
  expect(wantsGitToken("https://git.example:8443/a/b needs a token: add one for git.example")).toBe(true);
  expect(wantsGitToken("could not read Username: authentication required")).toBe(true);
  expect(wantsGitToken("no branch nope")).toBe(false);
  expect(hostInText("cloning https://u@Git.example:8443/a/b failed")).toBe("git.example:8443");
  expect(hostInText("nothing")).toBeUndefined();
});

it.each([
  ["github.com", "GitHub"],
  ["github.corp.example", "GitHub"],
  ["gitlab.com", "GitLab"],
  ["bitbucket.org", "Bitbucket"],
  ["codeberg.org", "Gitea or Forgejo"],
  ["notgithub.com", "notgithub.com"],
])("help for %s is that of %s", (host, name) => expect(hostHelp(host)?.name).toBe(name));
