import { Link } from "./parts";

const TABS = [
  ["/settings/git-tokens", "Git tokens"],
  ["/settings/account", "Account"],
] as const;

export function SettingsTabs({ current }: { current: string }) {
  return (
    <nav className="tabs" aria-label="Settings">
      {TABS.map(([href, title]) => (
        <Link key={href} href={href} aria-current={href === current ? "page" : undefined}>{title}</Link>
      ))}
    </nav>
  );
}
