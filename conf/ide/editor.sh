#!/bin/sh
# The entry point /ide/bin/editor: VS Code in the browser on port 23000 of the
# workspace. The gateway authenticates every request, so the editor itself asks
# for nothing. Settings and extensions lie in /workspace: they survive a stop.
set -eu

HOME=${HOME:-/home/gitpod}
export HOME
port=${GITPOD_THEIA_PORT:-23000}
folder=${GITPOD_REPO_ROOT:-/workspace}
data=/workspace/.vscode-remote
[ -d "$folder" ] || folder=/workspace

mkdir -p "$data/data/Machine" "$data/data/User" "$data/extensions"
if [ ! -e "$data/data/Machine/settings.json" ]; then
    printf '{\n    "telemetry.telemetryLevel": "off"\n}\n' > "$data/data/Machine/settings.json"
fi
# The person's own settings, theirs to change: the project's README greets, no
# walkthrough; a reload adds no shell beside the tasks' terminals.
if [ ! -e "$data/data/User/settings.json" ]; then
    printf '{\n    "workbench.startupEditor": "readme",\n    "terminal.integrated.hideOnStartup": "whenEmpty"\n}\n' > "$data/data/User/settings.json"
fi

# http://<id>.W/ becomes http://{{port}}-<id>.W/: links to ports go to hosts of their own.
# In mode port no pattern tells the address of a port, so the gateway leads there.
if [ -n "${GITPOD_PORT_URLS:-}" ]; then
    export VSCODE_PROXY_URI="$GITPOD_HOST/api/ports/$GITPOD_WORKSPACE_ID/{{port}}/"
elif [ -n "${GITPOD_WORKSPACE_URL:-}" ]; then
    export VSCODE_PROXY_URI="${GITPOD_WORKSPACE_URL%%://*}://{{port}}-${GITPOD_WORKSPACE_URL#*://}"
fi

exec /ide/node/bin/node /ide/app/node_modules/code-server/out/node/entry.js \
    --config /dev/null --auth none --bind-addr "0.0.0.0:$port" \
    --user-data-dir "$data/data" --extensions-dir "$data/extensions" \
    --disable-telemetry --disable-update-check --disable-workspace-trust \
    --disable-getting-started-override --disable-proxy --ignore-last-opened "$folder"
