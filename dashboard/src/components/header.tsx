import { setTheme, useTheme } from "../lib/theme";
import { Mark, MoonIcon, SunIcon } from "./icons";
import { Link } from "./parts";

function ThemeButton() {
  const { dark } = useTheme();
  const label = dark ? "Use the light theme" : "Use the dark theme";
  return (
    <button
      type="button" className="button ghost icon-only" aria-label={label} title={label}
      onClick={() => setTheme(dark ? "light" : "dark")}
    >
      {dark ? <SunIcon /> : <MoonIcon />}
    </button>
  );
}

interface HeaderProps {
  path: string;
  userName: string | undefined;
  signedOut: boolean;
}

export function Header({ path, userName, signedOut }: HeaderProps) {
  const current = (prefix: string) => (path.startsWith(prefix) ? "page" : undefined);
  return (
    <header className="header">
      <div className="header-row">
        <Link className="brand" href={signedOut ? "/login" : "/workspaces"}>
          <Mark />
          <span>Gitpod</span>
        </Link>
        {!signedOut && (
          <nav className="nav" aria-label="Main">
            <Link href="/workspaces" aria-current={current("/workspaces")}>Workspaces</Link>
            <Link href="/settings/git-tokens" aria-current={current("/settings")}>Settings</Link>
          </nav>
        )}
        <span className="spacer" />
        {!signedOut && userName && (
          <Link className="user" href="/settings/account" title={`Signed in as ${userName}`}>
            <span className="avatar" aria-hidden="true">{userName.slice(0, 1).toUpperCase()}</span>
            <span className="user-name">{userName}</span>
          </Link>
        )}
        <ThemeButton />
      </div>
    </header>
  );
}
