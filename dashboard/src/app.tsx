// The shell: header, the page of the route, and who is signed in.
import { useEffect, useRef, useState } from "react";
import { Header } from "./components/header";
import { keepLoading } from "./lib/again";
import { users } from "./lib/api";
import { contextFromHash, contextFromPath } from "./lib/context";
import { navigate, type Route, useRoute } from "./lib/route";
import { follow, rememberSignedIn, renewSession, takeReturn } from "./lib/session";
import { AccountPage } from "./pages/account";
import { CreatePage } from "./pages/create";
import { GitTokensPage } from "./pages/git_tokens";
import { LoginPage } from "./pages/login";
import { NotFoundPage } from "./pages/not_found";
import { StartPage } from "./pages/start";
import { WorkspacesPage } from "./pages/workspaces";

/** Paths that stand for another one. */
function redirect(route: Route): string | undefined {
  const context = contextFromPath(route.path);
  if (context) {
    return `/#${context}${route.search}`;
  }
  switch (route.path) {
    case "/":
    case "/new":
      return contextFromHash(route.hash) ? undefined : "/workspaces";
    case "/settings":
      return "/settings/account";
    case "/access-control":
    case "/integrations":
    case "/user/integrations":
      return "/settings/git-tokens";
    case "/account":
    case "/user/account":
      return "/settings/account";
    default:
      return undefined;
  }
}

function Page({ route }: { route: Route }) {
  switch (route.path) {
    case "/":
    case "/new":
      return <CreatePage key={route.hash} context={contextFromHash(route.hash)!} />;
    case "/login":
      return <LoginPage search={route.search} />;
    case "/workspaces":
      return <WorkspacesPage />;
    case "/start": {
      const id = route.hash.replace(/^#\/?/, "");
      return id === "" ? <NotFoundPage /> : <StartPage key={id} id={id} />;
    }
    case "/settings/git-tokens":
      return <GitTokensPage search={route.search} />;
    case "/settings/account":
      return <AccountPage />;
    default:
      return <NotFoundPage />;
  }
}

export function App() {
  const route = useRoute();
  const [userName, setUserName] = useState<string>();
  const firstPath = useRef(route.path);
  const signedOut = route.path === "/login";
  const target = redirect(route);

  useEffect(() => {
    if (target) {
      navigate(target, { replace: true });
    }
  }, [target]);

  useEffect(() => {
    if (signedOut || userName !== undefined) {
      return;
    }
    let live = true;
    const load = async () => {
      const response = await users.getAuthenticatedUser({});
      if (!live) {
        return;
      }
      setUserName(response.user?.name ?? "");
      rememberSignedIn();
      renewSession();
      const wanted = takeReturn();
      if (wanted && location.pathname === "/workspaces") {
        follow(wanted);
      }
    };
    // Signed out: the API layer goes to the log-in. Away: the page itself says so.
    const loader = keepLoading(load, () => undefined);
    return () => {
      live = false;
      loader.end();
    };
  }, [signedOut, userName]);

  useEffect(() => {
    if (firstPath.current !== route.path) {
      firstPath.current = route.path;
      document.getElementById("main")?.focus();
    }
  }, [route.path]);

  return (
    <>
      <button type="button" className="skip" onClick={() => document.getElementById("main")?.focus()}>
        Skip to the content
      </button>
      <Header path={route.path} userName={userName} signedOut={signedOut} />
      {target ? null : <Page route={route} />}
    </>
  );
}
