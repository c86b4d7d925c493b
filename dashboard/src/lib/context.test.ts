import { describe, expect, it } from "vitest";
import { contextFromHash, contextFromPath, displayRepository, gitHost, loginLink, looksLikeRepository, safeReturn, webLink } from "./context";

const ORIGIN = "http://gitpod.localhost:8080";

describe("contextFromHash", () => {
  it.each([
    ["#https://github.com/a/b", "https://github.com/a/b"],
    ["#/https://github.com/a/b", "https://github.com/a/b"],
    ["#https%3A%2F%2Fgithub.com%2Fa%2Fb", "https://github.com/a/b"],
    ["#https://h/a/b%20c", "https://h/a/b%20c"],
    ["#https://h/a/b#part", "https://h/a/b#part"],
    ["#git@github.com:a/b.git", "git@github.com:a/b.git"],
    ["#https%3A%E0", "https%3A%E0"],
    ["#foo%20bar", "foo bar"],
    ["#what%20is%E2%80%99t%20one%20", "what is’t one"],
    ["#100%", "100%"],
    ["#github.com/a/b/tree/c%20d", "github.com/a/b/tree/c%20d"],
    ["#A=b%20c/https://github.com/a/b", "A=b%20c/https://github.com/a/b"],
  ])("%s is %s", (hash, wanted) => expect(contextFromHash(hash)).toBe(wanted));

  it.each(["", "#", "#/", "# "])("%j is no context", (hash) => expect(contextFromHash(hash)).toBeUndefined());
});

describe("contextFromPath", () => {
  it("takes known hosts as a path", () => {
    expect(contextFromPath("/github.com/a/b")).toBe("github.com/a/b");
    expect(contextFromPath("/https://gitlab.com/a/b")).toBe("https://gitlab.com/a/b");
    expect(contextFromPath("/https:/gitlab.com/a/b")).toBe("https://gitlab.com/a/b");
  });
  it("leaves pages alone", () => {
    expect(contextFromPath("/workspaces")).toBeUndefined();
    expect(contextFromPath("/github.com")).toBeUndefined();
    expect(contextFromPath("/evil.example/a/b")).toBeUndefined();
  });
});

describe("repositories and links", () => {
  it("shows host, owner and name", () => {
    expect(displayRepository("https://user:secret@github.com/a/b.git")).toBe("github.com/a/b");
    expect(displayRepository("http://localhost:3000/a/b/")).toBe("localhost:3000/a/b");
  });
  it("links only to the web, and without a password", () => {
    expect(webLink("https://u:p@h/a")).toBe("https://h/a");
    expect(webLink("file:///etc/passwd")).toBeUndefined();
    expect(webLink("javascript:alert(1)")).toBeUndefined();
    expect(webLink("nonsense")).toBeUndefined();
  });
  it.each([
    ["github.com", "github.com"],
    ["https://GitHub.com/a/b", "github.com"],
    ["git@gitlab.example:group/x.git", "gitlab.example"],
    ["http://127.0.0.1:4000/x", "127.0.0.1:4000"],
    [" host:8443 ", "host:8443"],
    ["", ""],
  ])("the Git host of %j is %j", (text, wanted) => expect(gitHost(text)).toBe(wanted));
});

describe("looksLikeRepository", () => {
  it.each(["https://h/o/r", "github.com/o/r", "git@h:o/r.git", "file:///srv/r", "http://localhost:3000/r"])("%j does", (text) =>
    expect(looksLikeRepository(text)).toBe(true));
  it.each(["", "h", "https", "https://", "https://github.com", "https://github.com/", "some words"])("%j does not", (text) =>
    expect(looksLikeRepository(text)).toBe(false));
});

describe("safeReturn", () => {
  it("keeps a place of ours with its hash", () => {
    expect(safeReturn("/#https://h/a", ORIGIN)).toBe("/#https://h/a");
    expect(safeReturn("/api/handoff?host=x&nonce=1", ORIGIN)).toBe("/api/handoff?host=x&nonce=1");
  });
  it.each(["//evil.example/", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "", null, "/login?x", "/\n/evil"])(
    "%j leads nowhere",
    (text) => expect(safeReturn(text, ORIGIN)).toBeUndefined(),
  );
});

describe("loginLink", () => {
  it("follows a link of this server", () => {
    expect(loginLink(` ${ORIGIN}/api/login/link?token=abc `, ORIGIN)).toEqual({ path: "/api/login/link?token=abc" });
  });
  it.each(["", "abc", "http://other:8080/api/login/link?token=a", `${ORIGIN}/api/login/link`, "javascript:alert(1)"])(
    "%j is refused with a text",
    (text) => expect(loginLink(text, ORIGIN)).toHaveProperty("error"),
  );
});
