// Where each kind of Git host makes access tokens, and what they need.

export interface HostHelp {
  name: string;
  where: string; // the way through its settings
  url?: string;
  scopes: string[];
  username?: string; // what the host wants as user name; empty is right elsewhere
}

export function hostHelp(host: string): HostHelp | undefined {
  if (host === "") {
    return undefined;
  }
  if (/(^|\.)github\./.test(host)) {
    return {
      name: "GitHub",
      where: "Settings → Developer settings → Personal access tokens",
      url: `https://${host}/settings/personal-access-tokens/new`,
      scopes: [
        "Fine-grained token: the repositories you work on, permission Contents: Read and write",
        "Classic token: scope repo",
      ],
    };
  }
  if (/(^|\.)gitlab\./.test(host)) {
    return {
      name: "GitLab",
      where: "Preferences → Access tokens",
      url: `https://${host}/-/user_settings/personal_access_tokens`,
      scopes: ["read_repository to clone", "write_repository to push as well"],
    };
  }
  if (/(^|\.)bitbucket\./.test(host)) {
    return {
      name: "Bitbucket",
      where: host === "bitbucket.org" ? "Atlassian account → Security → API tokens" : "Manage account → HTTP access tokens",
      url: host === "bitbucket.org" ? "https://id.atlassian.com/manage-profile/security/api-tokens" : `https://${host}/account`,
      scopes: ["Repositories: Read to clone", "Repositories: Write to push as well"],
      username: host === "bitbucket.org" ? "x-bitbucket-api-token-auth" : "your Bitbucket user name",
    };
  }
  if (host === "dev.azure.com" || host.endsWith(".visualstudio.com")) {
    return {
      name: "Azure DevOps",
      where: "User settings → Personal access tokens",
      url: `https://${host}/`,
      scopes: ["Code: Read & write"],
    };
  }
  if (host === "codeberg.org" || /(gitea|forgejo)/.test(host)) {
    return {
      name: "Gitea or Forgejo",
      where: "Settings → Applications → Access tokens",
      url: `https://${host}/user/settings/applications`,
      scopes: ["repository: Read and write"],
    };
  }
  return {
    name: host,
    where: "the settings of your account there, under access tokens",
    scopes: ["read (and write, to push) access to the repositories you work on"],
  };
}
