// The form for a new workspace: says what a URL would open before it is sent.
import { type FormEvent, useEffect, useRef, useState } from "react";
import { workspaces } from "../lib/api";
import { displayRepository, gitHost, looksLikeRepository } from "../lib/context";
import { createWorkspace } from "../lib/create";
import { errorText, gitTokenHref, hostInText, wantsGitToken } from "../lib/errors";
import { navigate } from "../lib/route";
import { Link } from "./parts";

const PREVIEW_AFTER_MS = 350;

interface Preview {
  text?: string;
  warnings: string[];
  problem?: string;
}

async function preview(url: string, signal: AbortSignal): Promise<Preview> {
  const { metadata, spec } = await workspaces.parseContextURL({ contextUrl: url }, { signal });
  const warnings = metadata?.warnings ?? [];
  for (const { spec: entry } of spec?.initializer?.specs ?? []) {
    if (entry.case === "git") {
      const target = entry.value.cloneTarget;
      const where = target ? `at ${/^[0-9a-f]{40}$/.test(target) ? target.slice(0, 12) : target}` : "default branch";
      return { text: `${displayRepository(entry.value.remoteUri)}, ${where}`, warnings };
    }
  }
  return { warnings };
}

export function NewWorkspace({ url, onUrl }: { url: string; onUrl: (url: string) => void }) {
  const [found, setFound] = useState<Preview>();
  const [problem, setProblem] = useState<string>();
  const [busy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const wanted = url.trim();

  useEffect(() => {
    setFound(undefined);
    setProblem(undefined);
    if (!looksLikeRepository(wanted)) {
      return;
    }
    const controller = new AbortController();
    const timer = setTimeout(() => {
      preview(wanted, controller.signal).then(setFound, (error) => {
        if (!controller.signal.aborted) {
          setFound({ warnings: [], problem: errorText(error) });
        }
      });
    }, PREVIEW_AFTER_MS);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [wanted]);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (wanted === "") {
      setProblem("Paste the URL of a repository, branch, commit or file.");
      field.current?.focus();
      return;
    }
    setBusy(true);
    setProblem(undefined);
    try {
      const id = await createWorkspace(wanted);
      navigate(`/start/#${id}`);
    } catch (error) {
      setProblem(errorText(error));
      setBusy(false);
      field.current?.focus();
    }
  };

  const shown = problem ?? found?.problem;
  return (
    <form className="card new-workspace" onSubmit={submit} noValidate>
      <div className="row-form">
        <label className="grow">
          <span className="label">New workspace from a Git URL</span>
          <input
            ref={field} className="input mono" type="url" inputMode="url" value={url} spellCheck={false} autoComplete="off"
            autoCapitalize="none" placeholder="https://host/owner/repository" aria-invalid={shown !== undefined}
            aria-describedby="new-note" onChange={(event) => onUrl(event.target.value)}
          />
        </label>
        <button type="submit" className="button primary" disabled={busy}>{busy ? "Creating…" : "Create workspace"}</button>
      </div>
      <div id="new-note" className="new-note" aria-live="polite">
        {shown ? (
          <p className="field-problem pre">
            {shown}
            {wantsGitToken(shown) && (
              <>{" "}<Link href={gitTokenHref(hostInText(shown) ?? gitHost(wanted), "/workspaces")}>Add a Git token</Link></>
            )}
          </p>
        ) : found?.text ? (
          <p className="dim">Opens <strong>{found.text}</strong></p>
        ) : (
          <p className="dim">A repository, <code>/tree/branch</code>, <code>/commit/sha</code> or <code>/blob/…</code> page.</p>
        )}
        {!shown && found?.warnings.map((warning) => <p key={warning} className="field-warn">{warning}</p>)}
      </div>
    </form>
  );
}
