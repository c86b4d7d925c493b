// One access token per Git host. A value goes in and never comes out again.
import { type FormEvent, useEffect, useRef, useState } from "react";
import { Dialog } from "../components/dialog";
import { KeyIcon } from "../components/icons";
import { Ago, Hint, Link, Loading, OutLink, Problem, useNow, useTitle } from "../components/parts";
import { SettingsTabs } from "../components/settings_tabs";
import type { GitToken } from "../gen/gitpod/extension/v1/git_token_pb";
import { keepLoading, type Loader } from "../lib/again";
import { gitTokens } from "../lib/api";
import { gitHost, safeReturn } from "../lib/context";
import { errorText } from "../lib/errors";
import { hostHelp } from "../lib/git_hosts";
import { timestampMs } from "../lib/time";

function Help({ host }: { host: string }) {
  const help = hostHelp(host);
  if (!help) {
    return (
      <aside className="help">
        <h3>Where does a token come from?</h3>
        <p>Enter the host first: this place then says where that host makes tokens and what they need.</p>
      </aside>
    );
  }
  return (
    <aside className="help" aria-live="polite">
      <h3>A token from {help.name}</h3>
      <p>
        {help.url ? <OutLink href={help.url}>{help.where}</OutLink> : `Look in ${help.where}.`}
      </p>
      <ul>
        {help.scopes.map((scope) => <li key={scope}>{scope}</li>)}
        {help.username && <li>User name: <code>{help.username}</code></li>}
      </ul>
    </aside>
  );
}

interface AddFormProps {
  first: string;
  known: GitToken[];
  from?: string; // where a missing token led here
  onSaved: (token: GitToken) => void;
}

function AddForm({ first, known, from, onSaved }: AddFormProps) {
  const [host, setHost] = useState(first);
  const [username, setUsername] = useState("");
  const [value, setValue] = useState("");
  const [problem, setProblem] = useState<string>();
  const [saved, setSaved] = useState<string>();
  const [busy, setBusy] = useState(false);
  const valueField = useRef<HTMLInputElement>(null);
  const hostField = useRef<HTMLInputElement>(null);
  const cleanHost = gitHost(host);
  const replaces = known.some((token) => token.host === cleanHost);

  useEffect(() => {
    if (first !== "") {
      valueField.current?.focus();
    }
  }, [first]);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setSaved(undefined);
    if (cleanHost === "" || value.trim() === "") {
      setProblem(cleanHost === "" ? "Name the host, for example github.com." : "Paste the token.");
      (cleanHost === "" ? hostField : valueField).current?.focus();
      return;
    }
    setBusy(true);
    setProblem(undefined);
    try {
      const response = await gitTokens.setGitToken({ host: cleanHost, username: username.trim(), value: value.trim() });
      if (response.token) {
        onSaved(response.token);
      }
      setSaved(`The token for ${cleanHost} is kept. The next clone or push there uses it.`);
      setHost("");
      setUsername("");
      setValue("");
    } catch (error) {
      setProblem(errorText(error));
    } finally {
      setBusy(false);
    }
  };

  return (
    <section className="card split" aria-labelledby="add-token">
      <form className="stack" onSubmit={submit} noValidate autoComplete="off">
        <h2 id="add-token">{replaces ? `Replace the token for ${cleanHost}` : "Add a token"}</h2>
        <label>
          <span className="label">Host</span>
          <input ref={hostField} className="input mono" type="text" list="git-hosts" value={host} spellCheck={false}
            autoCapitalize="none" placeholder="github.com" onChange={(event) => setHost(event.target.value)}
            onBlur={() => setHost(cleanHost)} />
          <datalist id="git-hosts">
            <option value="github.com" /><option value="gitlab.com" /><option value="bitbucket.org" />
            <option value="codeberg.org" />
          </datalist>
        </label>
        <label>
          <span className="label">User name <span className="optional">optional; most hosts need none</span></span>
          <input className="input mono" type="text" value={username} spellCheck={false} autoCapitalize="none"
            placeholder={hostHelp(cleanHost)?.username ?? "oauth2"} onChange={(event) => setUsername(event.target.value)} />
        </label>
        <label>
          <span className="label">Token</span>
          <input ref={valueField} className="input mono" type="password" value={value} autoComplete="off" spellCheck={false}
            onChange={(event) => setValue(event.target.value)} />
        </label>
        {problem && <Problem text={problem} />}
        {saved && (
          <p className="field-good" role="status">
            {saved}{from && <>{" "}<Link href={from}>Back, to try again</Link></>}
          </p>
        )}
        <div>
          <button type="submit" className="button primary" disabled={busy}>
            {busy ? "Saving…" : replaces ? "Replace the token" : "Save the token"}
          </button>
        </div>
      </form>
      <Help host={cleanHost} />
    </section>
  );
}

export function GitTokensPage({ search }: { search: string }) {
  useTitle("Git tokens");
  const [tokens, setTokens] = useState<GitToken[]>();
  const [problem, setProblem] = useState<string>();
  const [leaving, setLeaving] = useState<GitToken>();
  const now = useNow(30_000);
  const query = new URLSearchParams(search);
  const first = gitHost(query.get("host") ?? "");
  const from = safeReturn(query.get("return"), location.origin);

  const loader = useRef<Loader>(undefined);
  useEffect(() => {
    const load = async () => {
      const response = await gitTokens.listGitTokens({});
      setProblem(undefined);
      setTokens(response.tokens);
    };
    loader.current = keepLoading(load, (error) => setProblem(errorText(error)));
    return loader.current.end;
  }, []);

  const again = () => {
    setProblem(undefined);
    loader.current?.now();
  };

  const put = (token: GitToken) =>
    setTokens((before) =>
      [...(before ?? []).filter((other) => other.host !== token.host), token].sort((a, b) => a.host.localeCompare(b.host)),
    );

  const remove = async (token: GitToken) => {
    await gitTokens.deleteGitToken({ host: token.host });
    setTokens((before) => before?.filter((other) => other.host !== token.host));
  };

  return (
    <main className="page" id="main" tabIndex={-1}>
      <h1>Settings</h1>
      <SettingsTabs current="/settings/git-tokens" />
      <p className="lead">
        A token lets your workspaces clone and push where a log-in is needed. It is kept encrypted, handed to git only
        when it asks, and never written into a workspace. It is not shown again.
      </p>
      {problem && <Problem text={problem}><button type="button" className="button small" onClick={again}>Try again</button></Problem>}
      {!tokens && !problem && <Loading what="Loading the tokens…" />}
      {tokens && tokens.length === 0 && (
        <Hint>No tokens yet. Public repositories need none; private ones need the token of their host.</Hint>
      )}
      {tokens && tokens.length > 0 && (
        <ul className="list" aria-label="Git tokens">
          {tokens.map((token) => (
            <li key={token.host} className="token-row">
              <KeyIcon />
              <div className="token-what">
                <strong className="mono">{token.host}</strong>
                <span className="dim">
                  user name <code>{token.username || "oauth2"}</code>, set{" "}
                  <Ago atMs={timestampMs(token.updateTime)} nowMs={now} />
                </span>
              </div>
              <button type="button" className="button small" onClick={() => setLeaving(token)}
                aria-label={`Delete the token for ${token.host}`}>
                Delete
              </button>
            </li>
          ))}
        </ul>
      )}
      <AddForm key={first} first={first} known={tokens ?? []} from={from} onSaved={put} />
      {leaving && (
        <Dialog title={`Delete the token for ${leaving.host}?`} action="Delete the token" busy="Deleting…" danger
          onClose={() => setLeaving(undefined)} onAction={() => remove(leaving)}>
          <p>
            Private repositories on {leaving.host} can then neither be cloned nor pushed to from here, running workspaces
            included. The token itself stays valid at {leaving.host}: revoke it there if it leaked.
          </p>
        </Dialog>
      )}
    </main>
  );
}
