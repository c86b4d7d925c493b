// Small parts that several pages use.
import { type AnchorHTMLAttributes, type MouseEvent, type ReactNode, useEffect, useState } from "react";
import { type State, STATE_TITLES } from "../lib/phases";
import { navigate } from "../lib/route";
import { formatAgo } from "../lib/time";
import { InfoIcon, WarnIcon } from "./icons";

/** A link inside the application: a plain click does not load the page again. */
export function Link({ href, children, ...rest }: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }) {
  const click = (event: MouseEvent<HTMLAnchorElement>) => {
    if (event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      navigate(href);
    }
  };
  return <a href={href} onClick={click} {...rest}>{children}</a>;
}

/** A link out of the application, in a tab of its own. */
export function OutLink({ href, children, className }: { href: string; children: ReactNode; className?: string }) {
  return <a href={href} className={className} target="_blank" rel="noreferrer">{children}</a>;
}

export function Badge({ state }: { state: State }) {
  return (
    <span className={`badge ${state}`}>
      <span className="dot" aria-hidden="true" />
      {STATE_TITLES[state]}
    </span>
  );
}

/** An error with its text as it is, and what can be done about it. */
export function Problem({ text, children }: { text: string; children?: ReactNode }) {
  return (
    <div className="notice bad" role="alert">
      <WarnIcon />
      <div className="notice-text">
        <p className="pre">{text}</p>
        {children && <div className="notice-actions">{children}</div>}
      </div>
    </div>
  );
}

export function Hint({ children, tone = "info" }: { children: ReactNode; tone?: "info" | "warn" }) {
  return (
    <div className={tone === "warn" ? "notice warn" : "notice"}>
      {tone === "warn" ? <WarnIcon /> : <InfoIcon />}
      <div className="notice-text">{children}</div>
    </div>
  );
}

/** The time now, again every `everyMs` while `active`. */
export function useNow(everyMs: number, active = true): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!active) {
      return;
    }
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs, active]);
  return now;
}

export function Ago({ atMs, nowMs }: { atMs: number | undefined; nowMs: number }) {
  if (atMs === undefined) {
    return <span>never</span>;
  }
  const date = new Date(atMs);
  return <time dateTime={date.toISOString()} title={date.toLocaleString()}>{formatAgo(atMs, nowMs)}</time>;
}

/** The title of the window while the component is there. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title === "" ? "Gitpod" : `${title} · Gitpod`;
  }, [title]);
}

/** Copies a text; where the browser refuses (plain http), selects it instead. */
export function Copyable({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = document.createElement("textarea");
      field.value = text;
      field.className = "offscreen";
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <span className="copyable">
      <code>{text}</code>
      <button type="button" className="button small" onClick={copy} aria-label={label}>
        {copied ? "Copied" : "Copy"}
      </button>
    </span>
  );
}

export function Loading({ what }: { what: string }) {
  return <p className="loading" role="status"><span className="spinner" aria-hidden="true" />{what}</p>;
}
