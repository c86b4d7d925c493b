// A server of canned answers for dashboard.mjs: the built files under the
// production CSP, and the Connect calls of the pages out of a plain object.
import http from 'node:http';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';

// The header that the gateway sends with the dashboard.
const CONF = new URL('../../conf/nginx/nginx_security.conf.in', import.meta.url);
const CSP = /Content-Security-Policy "([^"]+)"/.exec(readFileSync(CONF, 'utf8'))[1];
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
const STATUS = { unauthenticated: 401, not_found: 404, invalid_argument: 400, unavailable: 503, failed_precondition: 412, internal: 500 };

export class Failure {
    constructor(code, message) {
        this.code = code;
        this.message = message;
    }
}

function envelope(flag, value) {
    const body = Buffer.from(JSON.stringify(value));
    const head = Buffer.alloc(5);
    head[0] = flag;
    head.writeUInt32BE(body.length, 1);
    return Buffer.concat([head, body]);
}

export async function startServer(dist) {
    const world = {
        signedIn: true,
        workspaces: new Map(),
        tokens: [],
        calls: [],            // [method, request]
        answers: {},          // method -> function(request): answer or Failure; overrides
        streams: new Set(),   // of one workspace (id), or of all (id '')
        events: [],           // [number, text] of /api/events since the ring began
        eventNumber: 0,
        errorCsp: (await readFile(path.join(dist, 'errors/csp.conf'), 'utf8')).match(/Policy "([^"]+)"/)[1],
    };
    world.called = (method) => world.calls.filter(([name]) => name === method).map(([, request]) => request);
    world.publish = (id, change) => {
        const w = world.workspaces.get(id);
        w.status = { ...w.status, ...change, statusVersion: String(Number(w.status.statusVersion ?? 0) + 1) };
        const number = ++world.eventNumber;
        const text = `id: ${number}-0\nevent: workspace\ndata: ${JSON.stringify({ workspaceId: id, status: w.status })}\n\n`;
        world.events.push([number, text]);
        for (const s of world.streams) {
            if (s.id === '') s.response.write(text);
            else if (s.id === id) s.response.write(envelope(0, { workspaceId: id, status: w.status }));
        }
    };
    // As when the gateway's ring came round: what was is not to be had.
    world.forget = () => {
        world.events = [];
        world.eventNumber += 1000;
    };
    world.cut = () => {
        for (const s of world.streams) s.response.destroy();
        world.streams.clear();
    };

    const find = (id) => world.workspaces.get(id) ?? new Failure('not_found', `workspace ${id} does not exist`);
    const with_ = (id, act) => {
        const w = find(id);
        return w instanceof Failure ? w : act(w);
    };
    const methods = {
        'gitpod.v1.UserService/GetAuthenticatedUser': () => ({ user: { id: '7c0b9f5e-0d2d-4f65-8c8e-1f6f4a1f2b11', name: 'administrator', createdAt: '2026-11-01T10:00:00Z' } }),
        'gitpod.v1.WorkspaceService/ListWorkspaces': () => ({ workspaces: [...world.workspaces.values()], pagination: {} }),
        'gitpod.v1.WorkspaceService/GetWorkspace': (q) => with_(q.workspaceId, (workspace) => ({ workspace })),
        'gitpod.v1.WorkspaceService/StartWorkspace': (q) => with_(q.workspaceId, (workspace) => ({ workspace })),
        'gitpod.v1.WorkspaceService/StopWorkspace': (q) => with_(q.workspaceId, () => ({})),
        'gitpod.v1.WorkspaceService/DeleteWorkspace': (q) => with_(q.workspaceId, () => {
            world.workspaces.delete(q.workspaceId);
            return {};
        }),
        'gitpod.v1.WorkspaceService/UpdateWorkspace': (q) => with_(q.workspaceId, (workspace) => {
            Object.assign(workspace.metadata, q.metadata);
            return { workspace };
        }),
        'gitpod.extension.v1.GitTokenService/ListGitTokens': () => ({ tokens: world.tokens }),
        'gitpod.extension.v1.GitTokenService/SetGitToken': (q) => {
            const token = { host: q.host, username: q.username ?? '', updateTime: new Date().toISOString() };
            world.tokens = [...world.tokens.filter((t) => t.host !== q.host), token];
            return { token };
        },
        'gitpod.extension.v1.GitTokenService/DeleteGitToken': (q) => {
            world.tokens = world.tokens.filter((t) => t.host !== q.host);
            return {};
        },
    };

    function unary(response, answer) {
        if (answer instanceof Failure) {
            response.writeHead(STATUS[answer.code] ?? 500, { 'content-type': 'application/json' });
            response.end(JSON.stringify({ code: answer.code, message: answer.message }));
        } else {
            response.writeHead(200, { 'content-type': 'application/json' });
            response.end(JSON.stringify(answer));
        }
    }

    function watch(response, body) {
        const id = JSON.parse(body.subarray(5)).workspaceId;
        response.writeHead(200, { 'content-type': 'application/connect+json' });
        const found = find(id);
        if (!world.signedIn || found instanceof Failure) {
            const error = found ?? new Failure('unauthenticated', 'sign in first');
            response.end(envelope(2, { error: { code: error.code, message: error.message } }));
            return;
        }
        response.write(envelope(0, { workspaceId: id, status: found.status }));
        keep(id, response);
    }

    function keep(id, response) {
        const stream = { id, response };
        world.streams.add(stream);
        response.on('close', () => world.streams.delete(stream));
    }

    // /api/events, as the gateway answers it.
    function events(request, url, response) {
        if (!world.signedIn || world.answers.events) {
            unary(response, world.signedIn ? world.answers.events() : new Failure('unauthenticated', 'sign in first'));
            return;
        }
        const last = request.headers['last-event-id'] ?? url.searchParams.get('lastEventId');
        const from = last ? Number(last.split('-')[0]) : world.eventNumber;
        world.calls.push(['events', { last }]);
        response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
        response.write('retry: 200\n\n');
        if (from < world.eventNumber - world.events.length) {
            response.write(`id: ${world.eventNumber}-0\nevent: reset\ndata: {"reason":"gone"}\n\n`);
        } else {
            for (const [number, text] of world.events) if (number > from) response.write(text);
            response.write(`:\nid: ${world.eventNumber}-0\n\n`);
        }
        keep('', response);
    }

    async function api(method, body, response) {
        if (method.endsWith('/WatchWorkspaceStatus')) {
            if (world.answers.WatchWorkspaceStatus) {
                unary(response, world.answers.WatchWorkspaceStatus());
            } else {
                watch(response, body);
            }
            return;
        }
        const request = JSON.parse(body.toString() || '{}');
        world.calls.push([method.split('/')[1], request]);
        if (!world.signedIn) {
            unary(response, new Failure('unauthenticated', 'sign in first'));
            return;
        }
        const answer = world.answers[method.split('/')[1]] ?? methods[method];
        unary(response, answer ? await answer(request) : new Failure('unimplemented', `no method ${method}`));
    }

    async function file(url, response) {
        const status = /^\/errors\/(\d+)\.html$/.exec(url.pathname)?.[1];
        const name = path.extname(url.pathname) ? url.pathname : '/index.html';
        try {
            const data = await readFile(path.join(dist, path.normalize(name)));
            response.writeHead(200, {
                'content-type': TYPES[path.extname(name)] ?? 'application/octet-stream',
                'content-security-policy': status ? world.errorCsp : CSP,
            });
            response.end(data);
        } catch {
            response.writeHead(404, { 'content-type': 'text/plain' });
            response.end('no such file');
        }
    }

    const server = http.createServer((request, response) => {
        const chunks = [];
        request.on('data', (chunk) => chunks.push(chunk));
        request.on('end', () => {
            const url = new URL(request.url, 'http://d');
            if (url.pathname.startsWith('/public-api/')) {
                void api(url.pathname.slice('/public-api/'.length), Buffer.concat(chunks), response);
            } else if (url.pathname === '/api/events') {
                events(request, url, response);
            } else if (request.method === 'POST' && url.pathname.startsWith('/api/')) {
                world.calls.push([url.pathname, {}]);
                if (url.pathname === '/api/logout') world.signedIn = false;
                response.writeHead(204).end();
            } else if (url.pathname === '/api/login/link') {
                world.signedIn = true;
                response.writeHead(303, { location: '/workspaces' }).end();
            } else if (url.pathname.startsWith('/editor')) {
                response.writeHead(200, { 'content-type': 'text/html' });
                response.end('<!doctype html><link rel="icon" href="data:,"><title>editor</title><h1>the editor</h1>');
            } else {
                void file(url, response);
            }
        });
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    world.url = `http://127.0.0.1:${server.address().port}`;
    world.close = () => {
        world.cut();
        server.closeAllConnections();
        server.close();
    };
    return world;
}
