#pragma once

/* The tables below are aligned by hand. */
/* clang-format off */

/*
 * Everything two programs must agree on, once. The prose is docs/contracts/.
 *
 * Pure constants: no types of other rooms, no libc. The nginx module, the
 * plugins and the supervisor include this file and nothing repeats a value.
 */

/* ---- limits (name, number, unit, why) ---- */

#define GP_WORKSPACE_ID_MAX         51  /* bytes: "65535-debug-" + id fits one 63 byte label (RFC 1035 2.3.4) */
#define GP_INSTANCE_ID_LEN          36  /* bytes: UUID text form */
#define GP_USER_ID_LEN              36  /* bytes: UUID text form */
#define GP_ACTIVITY_BATCH_MAX      500  /* workspaces in one report of activity */
#define GP_ROUTE_PORTS_MAX          16  /* explicit ports in one route record */
#define GP_LISTENERS_MAX          1000  /* listeners of mode port, one a workspace or port */
#define GP_LISTENER_MIN           1024  /* the lowest of their numbers: no scheme's own port, which browsers leave out */
#define GP_ROUTE_RECORD_MAX       2048  /* bytes of JSON of one route record */
#define GP_EVENT_RECORD_MAX       8192  /* bytes of one event record */
#define GP_EVENT_KIND_MAX           32  /* bytes of its kind */
#define GP_EVENTS_MAX             4096  /* events that Redis keeps, about */
#define GP_HOST_MAX                253  /* bytes of a host name (RFC 1035) */
#define GP_CREDENTIAL_MAX         4096  /* bytes of a cookie value or token we look at */
#define GP_CONTEXT_URL_MAX        2048  /* bytes */
#define GP_PATH_MAX               2048  /* bytes of a path kept in a hand-off code */
#define GP_LIMITS_MESSAGE_MAX     3072  /* bytes of JSON that a gateway tells the others at a time */
#define GP_LIMITS_MESSAGE_N         64  /* buckets in it */
#define GP_RPC_BODY_MAX        4194304  /* bytes: 4 MiB, as the originals */
#define GP_RPC_DEPTH_MAX            32  /* nesting of a message, JSON or binary */
#define GP_WORKSPACE_NAME_MAX      255  /* bytes */
#define GP_UID_RANGE             65536  /* uids of one workspace */
#define GP_WORKSPACES_MAX         2048  /* uid ranges of one instance, so workspaces kept on one machine */
#define GP_FLAG_NAME_MAX            64  /* bytes of a feature flag's name */
#define GP_FLAG_USERS_MAX           32  /* users in the allow-list of one flag: a record fits 2048 bytes */
#define GP_FLAG_RECORD_MAX        2048  /* bytes of JSON of one flag record */
#define GP_FLAGS_MAX               128  /* flags of one installation, tombstones included */
#define GP_OWNER_TOKEN_LEN          32  /* characters [0-9A-Za-z_.-] */

/* ---- lifetimes ---- */

#define GP_LOGIN_LINK_TTL_S       3600
#define GP_SESSION_TTL_S        604800  /* 7 days; renewed when less than half is left */
#define GP_HANDOFF_CODE_TTL_S       30
#define GP_HANDOFF_NONCE_TTL_S     120
#define GP_WORKSPACE_TOKEN_TTL_S 86400
#define GP_IDLE_TIMEOUT_S         1800
#define GP_HEARTBEAT_MS          30000
#define GP_FLAG_TOMBSTONE_S     604800  /* 7 days: a gateway that was away for less learns of every deletion */
#define GP_ACTIVITY_REPORT_MAX_S    30  /* a gateway reports activity at least this often */
#define GP_ACTIVITY_SILENCE_S       60  /* without a report for so long, the editor's own word counts */

/* ---- ports inside a workspace; never user ports ---- */

#define GP_PORT_SUPERVISOR       22999
#define GP_PORT_IDE              23000
#define GP_PORT_SSH              23001
#define GP_PORT_DEBUG_SUPERVISOR 24999  /* of a debug workspace inside the workspace */
#define GP_PORT_DEBUG_IDE        25000
#define GP_PORT_DEBUG_SSH        25001
#define GP_PORT_DEBUG_PROXY      25003  /* forwards to the port that X-WS-Proxy-Debug-Port names */

/* ---- the workspace user and layout ---- */

#define GP_WORKSPACE_UID         33333
#define GP_DIR_WORKSPACE         "/workspace"     /* rw, nosuid, nodev, kept */
#define GP_DIR_INSTANCE          "/.workspace"    /* ro, written by content and ws_manager */
#define GP_FILE_READY            "/.workspace/ready.json" /* the go signal */
#define GP_FILE_PORTS_NAME       "ports.json"     /* mode port: {"3000":"<URL>"}, named by GITPOD_PORT_URLS */
#define GP_FILE_EXPOSED_NAME     "exposed.json"   /* ports that are not private and http, as in the route record */
#define GP_DIR_SUPERVISOR        "/.supervisor"   /* ro: supervisor, gp */
#define GP_DIR_IDE               "/ide"           /* ro: the editor and its Node */

/* ---- host names: [<port>-][debug-]<workspace id>.<W> ---- */

#define GP_HOST_DEBUG_PREFIX     "debug-"

/* ---- reserved paths ---- */

#define GP_PATH_GITPOD           "/_gitpod/"      /* workspace hosts: the gateway's own */
#define GP_PATH_HANDOFF          "/_gitpod/handoff"
#define GP_PATH_SUPERVISOR       "/_supervisor/"  /* workspace hosts: the supervisor's */
#define GP_PATH_API              "/api/"          /* D: log-in, log-out, hand-off */
#define GP_PATH_PUBLIC_API       "/public-api/"   /* D: Connect */
#define GP_PATH_EVENTS           "/api/events"    /* D: server-sent events */
#define GP_PATH_PORTS            "/api/ports/"    /* D: <workspace>/<port>/ leads to that port, which has an address then */

/* ---- cookies; on TLS each name gets the prefix __Host-; in mode port all but the session's end in _<listener> ---- */

#define GP_COOKIE_HOST_PREFIX    "__Host-"
#define GP_COOKIE_SESSION        "gp_session"     /* D */
#define GP_COOKIE_WORKSPACE      "gp_workspace"   /* workspace and port hosts */
#define GP_COOKIE_NONCE          "gp_nonce"       /* workspace hosts, Path=/_gitpod */
#define GP_COOKIE_ORIGIN         "gp_origin"      /* mode port: whose the storage of this listener's pages is */
#define GP_COOKIE_APPLICATION    "gp."            /* mode port: before "<workspace id>.<name>" of an application's cookie */

/* Gitpod's own, without __Host-: "_<D>_" "ws_" <instance id> "_owner_", D with '-' and '.' as '_' */

#define GP_COOKIE_OWNER_BEFORE   "ws_"
#define GP_COOKIE_OWNER_BEHIND   "_owner_"

/* ---- request headers of clients ---- */

#define GP_HEADER_OWNER_TOKEN    "x-gitpod-owner-token"

/* ---- answers of the gateway's own ---- */

#define GP_HEADER_BREAKER        "Gitpod-Breaker" /* "<name>; state=open; reason=connect; retry_ms=1200" */

/* ---- tokens (docs/contracts/tokens.md) ---- */

#define GP_TOKEN_ALG             "ES256"
#define GP_TOKEN_AUD_SESSION     "gitpod-session" /* a workspace token's aud is its host, lower case, no port; in mode port <W>:<listener> */
#define GP_PAT_PREFIX            "gitpod_pat_"
#define GP_SCOPE_ALL             "function:*"     /* all of gitpod.v1 */
#define GP_CLAIM_WORKSPACE       "ws"
#define GP_CLAIM_SESSION         "sid"

/* ---- FastCGI parameters the gateway sets (never HTTP_*, so no client can) ---- */

#define GP_PARAM_PATH            "GITPOD_PATH"        /* what is asked for; the kit routes by it alone */
#define GP_PARAM_USER            "GITPOD_USER"        /* user id, empty when anonymous */
#define GP_PARAM_CREDENTIAL      "GITPOD_CREDENTIAL"  /* session | token | none */
#define GP_PARAM_CREDENTIAL_ID   "GITPOD_CREDENTIAL_ID" /* session id or token id */
#define GP_PARAM_SCOPES          "GITPOD_SCOPES"      /* space separated */
#define GP_PARAM_CALLER          "GITPOD_CALLER"      /* internal listeners: the calling service */
#define GP_PARAM_TRACEPARENT     "GITPOD_TRACEPARENT" /* W3C trace context */
#define GP_PARAM_REQUEST_ID      "GITPOD_REQUEST_ID"
#define GP_PARAM_FLAGS           "GITPOD_FLAGS"       /* names of the flags that are on for the user, space separated */
#define GP_PARAM_SCHEME          "GITPOD_SCHEME"      /* http | https as the person sees it */
#define GP_PARAM_WORKSPACE       "GITPOD_WORKSPACE"   /* /api/handoff: the workspace of the host that was asked for; GP_PATH_PORTS: of the path */
#define GP_PARAM_PORT            "GITPOD_PORT"        /* GP_PATH_PORTS: of the path */

/* ---- answers of the auth plugin that the gateway reads (response headers) ---- */

#define GP_AUTH_HEADER_USER      "Gitpod-User"
#define GP_AUTH_HEADER_TOKEN_ID  "Gitpod-Token-Id"
#define GP_AUTH_HEADER_SCOPES    "Gitpod-Scopes"
#define GP_AUTH_HEADER_WORKSPACE_TOKEN "Gitpod-Workspace-Token"
#define GP_AUTH_HEADER_LOCATION  "Gitpod-Location"

/* ---- Redis (docs/contracts/redis.md) ---- */

#define GP_REDIS_ROUTES          "gitpod:routes"       /* hash: workspace id -> record */
#define GP_REDIS_ROUTES_CHANNEL  "gitpod:routes:changes"
#define GP_REDIS_REVOCATIONS     "gitpod:revocations"  /* hash: "<kind>:<id>" -> epoch seconds */
#define GP_REDIS_REVOCATIONS_CHANNEL "gitpod:revocations:changes"
#define GP_REDIS_KEY_SET         "gitpod:keys"         /* string: JWKS JSON */
#define GP_REDIS_KEY_SET_CHANNEL "gitpod:keys:changes"
#define GP_REDIS_LIMITS_CHANNEL  "gitpod:limits:changes" /* what gateways let through */
#define GP_REDIS_FLAGS           "gitpod:flags"        /* hash: flag name -> record */
#define GP_REDIS_FLAGS_CHANNEL   "gitpod:flags:changes"
#define GP_REDIS_EVENTS          "gitpod:events"       /* stream: field GP_REDIS_EVENTS_FIELD, an event record */
#define GP_REDIS_EVENTS_FIELD    "event"
#define GP_REDIS_EVENTS_CHANNEL  "gitpod:events:changes"

/* ---- kinds of events ---- */

#define GP_EVENT_WORKSPACE       "workspace"   /* data: gitpod.v1.WatchWorkspaceStatusResponse */
#define GP_EVENT_PREBUILD        "prebuild"    /* data: gitpod.v1.Prebuild */
#define GP_EVENT_IMAGE_BUILD     "image_build" /* data: workspaceId, phase, message */
#define GP_EVENT_RESET           "reset"       /* events were lost: read the lists anew; data: reason */

/* ---- snapshots for a gateway that starts without Redis; below GITPOD_STATE ---- */

#define GP_FILE_ROUTES_FMT       "%s/ws_manager/routes.json"
#define GP_FILE_REVOCATIONS_FMT  "%s/auth/revocations.json"

/* ---- sockets below GITPOD_RUN ---- */

#define GP_SOCKET_GATEWAY_FMT    "%s/gateway/%s/gateway.sock" /* run dir, caller */
#define GP_SOCKET_GATEWAY2_FMT   "%s/second/gateway/%s/gateway.sock" /* the same of the second gateway, when there is one */
#define GP_SOCKET_SERVICE_FMT    "%s/%s/fcgi.sock"            /* run dir, service */
#define GP_SOCKET_REDIS_FMT      "%s/redis/redis.sock"
#define GP_SOCKET_ENGINE_FMT     "%s/engine/podman.sock"

/* ---- plain paths every plugin answers on its own socket ---- */

#define GP_PATH_HEALTH           "/health"   /* 200 {"status":"ok"} or 503 {"status":"...","checks":{...}} */
#define GP_PATH_METRICS          "/metrics"  /* Prometheus text */
