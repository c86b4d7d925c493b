import { useEffect, useState } from "react";
import { SettingsTabs } from "../components/settings_tabs";
import { Loading, Problem, useTitle } from "../components/parts";
import type { User } from "../gen/gitpod/v1/user_pb";
import { keepLoading } from "../lib/again";
import { users } from "../lib/api";
import { errorText } from "../lib/errors";
import { logOut } from "../lib/session";
import { setTheme, type Theme, useTheme } from "../lib/theme";
import { timestampMs } from "../lib/time";

const THEMES: [Theme, string][] = [
  ["system", "As the system"],
  ["light", "Light"],
  ["dark", "Dark"],
];

function Appearance() {
  const { theme } = useTheme();
  return (
    <fieldset className="card choices">
      <legend>Appearance</legend>
      <div className="choice-row">
        {THEMES.map(([value, title]) => (
          <label key={value} className="choice">
            <input
              type="radio" name="theme" value={value} checked={theme === value}
              onChange={() => setTheme(value)}
            />
            {title}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

export function AccountPage() {
  useTitle("Account");
  const [user, setUser] = useState<User>();
  const [unreadable, setUnreadable] = useState<string>();
  const [problem, setProblem] = useState<string>(); // of the log-out
  const [leaving, setLeaving] = useState(false);

  useEffect(() => {
    const load = async () => {
      const response = await users.getAuthenticatedUser({});
      setUnreadable(undefined);
      setUser(response.user);
    };
    return keepLoading(load, (error) => setUnreadable(errorText(error))).end;
  }, []);

  const leave = async () => {
    setLeaving(true);
    setProblem(undefined);
    try {
      await logOut();
    } catch (error) {
      setProblem(errorText(error));
      setLeaving(false);
    }
  };

  const since = timestampMs(user?.createdAt);
  return (
    <main className="page" id="main" tabIndex={-1}>
      <h1>Settings</h1>
      <SettingsTabs current="/settings/account" />
      {unreadable && <Problem text={unreadable} />}
      {problem && <Problem text={problem} />}
      <section className="card account" aria-labelledby="who">
        <div>
          <h2 id="who">Account</h2>
          {user ? (
            <dl className="facts">
              <dt>Name</dt>
              <dd>{user.name}</dd>
              <dt>User id</dt>
              <dd><code>{user.id}</code></dd>
              {since !== undefined && (
                <>
                  <dt>Since</dt>
                  <dd>{new Date(since).toLocaleDateString(undefined, { dateStyle: "long" })}</dd>
                </>
              )}
            </dl>
          ) : (
            !unreadable && <Loading what="Loading the account…" />
          )}
        </div>
        <div className="account-out">
          <button type="button" className="button" onClick={leave} disabled={leaving}>
            {leaving ? "Logging out…" : "Log out"}
          </button>
          <p className="note">Ends this session here and in every workspace it opened. Workspaces keep running.</p>
        </div>
      </section>
      <Appearance />
    </main>
  );
}
