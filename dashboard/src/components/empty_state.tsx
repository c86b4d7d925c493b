// What to do with an empty list.
import { Copyable } from "./parts";

const EXAMPLES = [
  ["A repository", "https://github.com/octocat/Hello-World", "its default branch"],
  ["A branch or tag", "https://github.com/octocat/Hello-World/tree/test", "that branch, ready to push"],
  ["A commit", "https://github.com/octocat/Hello-World/commit/7fd1a60b01f91b314f59955a4e4d4e80d8edf11d", "exactly that state"],
  ["A file", "https://github.com/octocat/Hello-World/blob/master/README", "its repository and branch"],
] as const;

export function EmptyState({ onExample }: { onExample: (url: string) => void }) {
  const prefix = `${location.origin}/#`;
  const pick = (url: string) => {
    onExample(url);
    document.querySelector<HTMLInputElement>(".new-workspace input")?.focus();
  };
  return (
    <section className="empty" aria-labelledby="empty-title">
      <h2 id="empty-title">No workspaces yet</h2>
      <p className="lead">
        A workspace is a container with your repository in it and VS Code in the browser. Stop it and start it again:
        the files stay, committed or not.
      </p>
      <h3>What the field above takes</h3>
      <ul className="examples">
        {EXAMPLES.map(([title, url, what]) => (
          <li key={title}>
            <button type="button" className="example" onClick={() => pick(url)}>
              <strong>{title}</strong>
              <code>{url}</code>
              <span className="dim">opens {what}</span>
            </button>
          </li>
        ))}
      </ul>
      <h3>Faster: from the address bar</h3>
      <p>
        On any page of a repository, put this in front of its address. The workspace starts at once.
      </p>
      <Copyable text={prefix} label="Copy the prefix" />
      <p>Or keep this as a bookmark and click it on a repository’s page:</p>
      <Copyable text={`javascript:location.href='${prefix}'+location.href`} label="Copy the bookmark" />
    </section>
  );
}
