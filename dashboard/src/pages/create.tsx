// D/#<context URL>: makes the workspace at once, then shows its start page.
import { type FormEvent, useEffect, useState } from "react";
import { Link, Loading, Problem, useTitle } from "../components/parts";
import { displayRepository, gitHost } from "../lib/context";
import { createWorkspace } from "../lib/create";
import { errorText, gitTokenHref, hostInText, wantsGitToken } from "../lib/errors";
import { navigate } from "../lib/route";

export function CreatePage({ context }: { context: string }) {
  useTitle("Starting a workspace");
  const [attempt, setAttempt] = useState(0);
  const [problem, setProblem] = useState<string>();
  const [url, setUrl] = useState(context);

  useEffect(() => {
    let live = true;
    setProblem(undefined);
    createWorkspace(context).then(
      (id) => live && navigate(`/start/#${id}`, { replace: true }),
      (error) => live && setProblem(errorText(error)),
    );
    return () => {
      live = false;
    };
  }, [context, attempt]);

  if (problem === undefined) {
    return (
      <main className="narrow page" id="main" tabIndex={-1}>
        <h1>Starting a workspace</h1>
        <p className="lead">From <code>{displayRepository(context)}</code></p>
        <Loading what="Asking for a workspace…" />
      </main>
    );
  }

  const submit = (event: FormEvent) => {
    event.preventDefault();
    const wanted = url.trim();
    if (wanted === context || wanted === "") {
      setAttempt(attempt + 1);
    } else {
      navigate(`/#${wanted}`, { replace: true });
    }
  };

  return (
    <main className="narrow page" id="main" tabIndex={-1}>
      <h1>No workspace was started</h1>
      <Problem text={problem}>
        {wantsGitToken(problem) && (
          <Link className="button small" href={gitTokenHref(hostInText(problem) ?? gitHost(context), `/#${context}`)}>
            Add a Git token
          </Link>
        )}
      </Problem>
      <form className="card row-form" onSubmit={submit} noValidate>
        <label className="grow">
          <span className="label">Git URL</span>
          <input className="input mono" type="text" value={url} spellCheck={false} autoComplete="off"
            onChange={(event) => setUrl(event.target.value)} />
        </label>
        <button type="submit" className="button primary">Try again</button>
      </form>
      <p className="note"><Link href="/workspaces">Back to the workspaces</Link></p>
    </main>
  );
}
