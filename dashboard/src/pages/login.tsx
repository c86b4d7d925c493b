// Where people without a session land: how to get a one-time link, and a field for it.
import { type FormEvent, useEffect, useState } from "react";
import { Copyable, Hint, Problem, useTitle } from "../components/parts";
import { users } from "../lib/api";
import { loginLink } from "../lib/context";
import { follow, maybeSignedIn, onSignedIn, rememberReturn, takeReturn } from "../lib/session";

export function LoginPage({ search }: { search: string }) {
  useTitle("Log in");
  const [text, setText] = useState("");
  const [problem, setProblem] = useState<string>();
  const params = new URLSearchParams(search);
  const spent = params.get("error") === "link";
  const wanted = params.get("return");

  useEffect(() => {
    rememberReturn(search);
    let live = true;
    const goOn = () => {
      users.getAuthenticatedUser({}).then(
        () => live && follow(takeReturn() ?? "/workspaces"),
        () => undefined,
      );
    };
    if (maybeSignedIn()) {
      goOn();
    }
    const end = onSignedIn(goOn);
    return () => {
      live = false;
      end();
    };
  }, [search]);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    const link = loginLink(text, location.origin);
    if ("error" in link) {
      setProblem(link.error);
    } else {
      location.assign(link.path);
    }
  };

  return (
    <main className="narrow page" id="main" tabIndex={-1}>
      <h1>Log in</h1>
      {spent && (
        <Problem text="This log-in link was used before or has expired. A link works once, within an hour. Get a new one below." />
      )}
      {!spent && wanted && <Hint>Log in first; you are then taken to where you wanted to go.</Hint>}
      <section className="card">
        <ol className="how">
          <li>
            <p>On the machine that runs this server, ask for a link:</p>
            <Copyable text="sudo ./build.sh login-link" label="Copy the command" />
          </li>
          <li>
            <p>Open the link it prints. It works once and for an hour; the session it starts lasts 7 days and renews itself.</p>
            <form className="row-form" onSubmit={submit} noValidate>
              <label className="grow">
                <span className="label">Or paste the link here</span>
                <input
                  className="input" type="url" value={text} spellCheck={false} autoComplete="off"
                  placeholder={`${location.origin}/api/login/link?token=…`}
                  aria-invalid={problem !== undefined} aria-describedby={problem ? "link-problem" : undefined}
                  onChange={(event) => {
                    setText(event.target.value);
                    setProblem(undefined);
                  }}
                />
              </label>
              <button type="submit" className="button primary">Log in</button>
            </form>
            {problem && <p className="field-problem" id="link-problem" role="alert">{problem}</p>}
          </li>
        </ol>
      </section>
      <p className="note">
        You do not run the server? Ask the person who does for a link: this installation has no passwords.
      </p>
    </main>
  );
}
