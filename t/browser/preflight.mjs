// Two programs of a workspace, and Chromium; prints TAP lines for preflight.t.
import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import path from 'node:path';

const require = createRequire(path.join(path.dirname(new URL(import.meta.url).pathname), '../../dashboard/package.json'));
const { chromium } = require('playwright-core');
const [what, domain, session, profile, address, front, back, other] = process.argv.slice(2);
const ok = (good, text) => console.log(`${good ? '' : 'not '}ok - ${text}`);
const url = (host) => `http://${host}`;

// The program of the page, and the API that it calls: it allows that page, as such programs do.
const preflights = [];
const requests = [];
const page = createServer((req, res) => { res.setHeader('Content-Type', 'text/html'); res.end('<!doctype html><title>front</title>'); });
const api = createServer((req, res) => {
    (req.method === 'OPTIONS' ? preflights : requests).push(req.url);
    res.setHeader('Access-Control-Allow-Origin', url(front));
    res.setHeader('Access-Control-Allow-Credentials', 'true');
    res.setHeader('Content-Type', 'application/json');
    let body = '';
    req.on('data', (part) => { body += part; });
    req.on('end', () => res.end(JSON.stringify({ method: req.method, own: req.headers['x-own'], body, cookie: req.headers.cookie ?? null })));
});
await new Promise((done) => page.listen(3000, address, done));
await new Promise((done) => api.listen(9321, address, done));

const context = await chromium.launchPersistentContext(profile, {
    executablePath: path.join(path.dirname(new URL(import.meta.url).pathname), 'chromium.pl'),
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
        `--host-resolver-rules=MAP * 127.0.0.1`],
});
context.setDefaultTimeout(20000);
try {
    await context.addCookies([{ name: 'gp_session', value: session, domain, path: '/', httpOnly: true, sameSite: 'Lax' }]);
    const tab = context.pages()[0] ?? (await context.newPage());
    const open = async (host) => { await tab.goto(url(host)); return tab.url().startsWith(`${url(host)}/`); };
    const call = (host, method, route) => tab.evaluate(async ([u, m]) => {
        try {
            const r = await fetch(u, { method: m, credentials: 'include', headers: { 'Content-Type': 'application/json', 'X-Own': 'yes' }, body: m === 'GET' ? undefined : '{}' });
            return { status: r.status, json: await r.json() };
        } catch (e) { return { error: String(e) }; }
    }, [url(host) + route, method]);

    if (what === 'off') {
        ok(await open(back) && await open(front), 'both ports are entered by the hand-off');
        const r = await call(back, 'PUT', '/item');
        ok(/Failed to fetch/.test(r.error ?? ''), `fetch() between private ports fails (${JSON.stringify(r)})`);
    } else {
        ok(await open(front), 'the page is entered by the hand-off');
        let r = await call(back, 'PUT', '/early');
        if (other) ok(/Failed to fetch/.test(r.error ?? ''), `a port that was not entered is not reached (${JSON.stringify(r)})`);
        else ok(r.status === 401 && r.json.code === 'unauthenticated', `a port that was not entered: the page may read why not (${JSON.stringify(r)})`);
        ok(await open(back) && await open(front), 'it is entered');
        for (const method of ['PUT', 'DELETE', 'PATCH']) {
            r = await call(back, method, '/item');
            ok(r.status === 200 && r.json.method === method && r.json.own === 'yes', `${method} with credentials and a header of its own (${JSON.stringify(r)})`);
        }
        ok(r.json?.cookie === null, 'our cookie stays at the gateway');
        r = await call(back, 'GET', '/item');
        ok(r.json?.method === 'GET', 'GET with a header of its own');
        ok(preflights.length === 0, 'no preflight reached the program');
        if (other) {
            const before = requests.length;
            ok(await open(other), 'a public page of another workspace, in the same browser');
            for (const method of ['PUT', 'GET']) {
                r = await call(back, method, '/item');
                ok(/Failed to fetch/.test(r.error ?? '') && requests.length === before, `its ${method} does not reach the program (${JSON.stringify(r)})`);
            }
        }
    }
} catch (e) {
    ok(false, `stuck: ${String(e).split('\n').slice(0, 3).join(' ')}`);
} finally {
    await context.close();
    page.close();
    api.close();
    page.closeAllConnections();
    api.closeAllConnections();
}
