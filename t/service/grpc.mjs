// Drives the gateway for grpc.t, with @grpc/grpc-js and with bare HTTP/2 frames; prints "ok - text" lines. What only the
// other side knows or does is asked for ("ask ..." lines).
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import readline from 'node:readline';

const { GP_TARGET, GP_TLS, GP_CA, GP_API, GP_TOKEN, GP_USER, GP_PROTO, GP_CLIENTS } = process.env;
const require = createRequire(`${GP_CLIENTS}/package.json`);
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

let failed = 0;
function ok(cond, text, detail) {
    console.log(`${cond ? 'ok' : 'not ok'} - ${text}`);
    if (!cond) {
        failed++;
        console.log(`  ${JSON.stringify(detail)}`);
    }
}
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
async function ask(what) {
    console.log(`ask ${what}`);
    return (await answers.next()).value;
}
async function soon(cond) {
    for (const end = Date.now() + 15000; Date.now() < end;) {
        if (await cond()) return true;
        await new Promise((done) => setTimeout(done, 20));
    }
    return false;
}

const definition = loader.loadSync(['gitpod/v1/workspace.proto', 'gitpod/v1/user.proto'], { includeDirs: [GP_PROTO] });
const proto = grpc.loadPackageDefinition(definition).gitpod.v1;
const client = new proto.WorkspaceService(GP_TARGET, grpc.credentials.createInsecure(), { 'grpc.enable_retries': 0, 'grpc.max_send_message_length': -1 });
function metadata(token = GP_TOKEN, more = {}) {
    const m = new grpc.Metadata();
    if (token) m.set('authorization', `Bearer ${token}`);
    for (const [k, v] of Object.entries(more)) m.set(k, v);
    return m;
}
// { code, details, response } of a unary call.
function call(method, message, meta = metadata(), options = {}, on = client) {
    return new Promise((done) => on[method](message, meta, options, (error, response) => done(error ? { code: error.code, details: error.details, metadata: error.metadata } : { code: 0, response })));
}
// { code, details, messages } of a server stream.
function stream(id, { meta = metadata(), options = {}, each = () => {} } = {}) {
    return new Promise((done) => {
        const messages = [];
        const s = client.WatchWorkspaceStatus({ workspaceId: id }, meta, options);
        s.on('data', (m) => { messages.push(m.workspaceId); each(s, messages); });
        s.on('error', () => {});
        s.on('status', (status) => done({ code: status.code, details: status.details, messages }));
    });
}
const get = (id, ...more) => call('GetWorkspace', { workspaceId: id }, ...more);
function is(r, code, pattern, text) { ok(r.code === code && pattern.test(r.details ?? ''), text, r); }

// ---- calls ----
let r = await get('amber');
ok(r.code === 0 && r.response.workspace.id === 'amber', 'a unary call', r);
ok(r.response?.workspace.metadata.ownerId === GP_USER, 'made as the user of the token', r);
r = await stream('count');
ok(r.code === 0 && r.messages.join() === 'count,count,count', 'a server stream', r);
is(await get('fail'), 5, /^workspace_id: there is no workspace "fail"$/, 'an error has code and text');
is(await stream('fail'), 7, /not yours/, 'so has one of a stream');
r = await get('metadata', metadata(GP_TOKEN, { 'test-bin': Buffer.from([0, 1, 0xff]) }));
ok(Buffer.from(r.response?.workspace.metadata.name ?? '', 'base64').equals(Buffer.from([0, 1, 0xff])), 'binary metadata arrives in base64', r);
const many = await Promise.all(Array.from({ length: 200 }, (_, i) => get(`w${i}`)));
ok(many.every((one, i) => one.response?.workspace.id === `w${i}`), '200 calls at once on one connection');
const big = 'x'.repeat(1 << 20);
r = await get(big);
ok(r.response?.workspace.id === big, 'a message of 1 MiB, there and back', r.details);
const watchers = await Promise.all(Array.from({ length: 40 }, () => stream('count')));
ok(watchers.every((one) => one.code === 0 && one.messages.length === 3), '40 streams at once');

// ---- who may not ----
is(await get('amber', metadata('')), 16, /personal access token/, 'no token: unauthenticated, with the gateway\'s text');
is(await get('amber', metadata('gitpod_pat_' + 'z'.repeat(40))), 16, /unknown, expired or revoked/, 'a wrong token too');
is(await stream('count', { meta: metadata('') }), 16, /token/, 'for a stream as well');

// ---- what there is not ----
is(await call('GetUser', { userId: 'x' }, metadata(), {}, new proto.UserService(GP_TARGET, grpc.credentials.createInsecure())), 12, /UserService\/GetUser/, 'a method that the service has not');
function generic(path) {
    return new Promise((done) => new grpc.Client(GP_TARGET, grpc.credentials.createInsecure())
        .makeUnaryRequest(path, (b) => b, (b) => b, Buffer.alloc(0), metadata(), {}, (error) => done({ code: error?.code, details: error?.details })));
}
is(await generic('/gitpod.v1.NoService/Get'), 12, /NoService\/Get/, 'a service that is not there');
is(await generic('/other.Service/Get'), 12, /no such service or method/, 'a package that is not');

// ---- time ----
let t = Date.now();
is(await get('wait', metadata(), { deadline: Date.now() + 1000 }), 4, /./, 'a deadline ends a call');
ok(Date.now() - t < 6000, 'in time');
ok(await soon(async () => await ask('metric echo_cancelled_total') === '1'), 'and its handler');
is(await stream('idle', { options: { deadline: Date.now() + 1000 } }), 4, /./, 'and a stream');
ok(await soon(async () => await ask('metric echo_closed_total') === '1'), 'whose handler hears of it');

// ---- the client goes away ----
r = await stream('idle', { each: (s) => s.cancel() });
ok(r.code === 1 && r.messages.length === 1, 'a client that cancels', r);
ok(await soon(async () => await ask('metric echo_closed_total') === '2'), 'ends the handler of its stream');
const waiting = client.GetWorkspace({ workspaceId: 'wait' }, metadata(), () => {});
ok(await soon(async () => await ask('metric echo_waits_total') === '2'), 'a call waits');
waiting.cancel();
ok(await soon(async () => await ask('metric echo_cancelled_total') === '2'), 'and ends when it is cancelled');
ok(await soon(async () => await ask('metric gitpod_service_requests') === '1'), 'nothing is left behind');

// ---- limits ----
is(await get('x'.repeat(5_000_000)), 8, /4 MiB/, 'a message over the limit is refused by the gateway');
is(await get('amber', metadata(), {}, new proto.WorkspaceService(GP_TARGET, grpc.credentials.createInsecure(), { 'grpc.default_compression_algorithm': 2 })), 12, /gzip.*identity/, 'a compressed one by the service');
const slow = client.WatchWorkspaceStatus({ workspaceId: 'flood' }, metadata());
slow.pause();
slow.on('error', () => {});
const status = new Promise((done) => slow.on('status', done));
ok(await soon(async () => await ask('metric echo_slow_total') === '1'), 'a reader that does not read is pushed back on, to the service');
let floods = 0;
slow.on('data', () => floods++);
slow.resume();
r = await status;
ok(r.code === 8 && /too slow/.test(r.details) && floods > 1000, 'and is told so behind all that was sent', { ...r, floods });

const starts = await Promise.all(Array.from({ length: 25 }, () => call('StartWorkspace', { workspaceId: 'x' })));
const refused = starts.filter((one) => one.code === 8);
ok(starts[0].code === 12 && refused.length >= 10 && refused.length < 24, 'the limit of starts holds', starts.map((one) => one.code));
ok(refused[0]?.metadata.get('retry-after').length === 1, 'and says when to try again', refused[0]);

// ---- health, as load balancers ask ----
function health(name = '') {
    const request = name ? Buffer.concat([Buffer.from([0x0a, name.length]), Buffer.from(name)]) : Buffer.alloc(0);
    return new Promise((done) => new grpc.Client(GP_TARGET, grpc.credentials.createInsecure())
        .makeUnaryRequest('/grpc.health.v1.Health/Check', (b) => b, (b) => b, request, new grpc.Metadata(), {}, (error, b) => done({ code: error?.code ?? 0, details: error?.details, body: b?.toString('hex') })));
}
ok(await soon(async () => (await health()).body === '0801'), 'the server is serving, says its health to anybody');
is(await health('gitpod.v1.WorkspaceService'), 5, /whole server/, 'one service by name has none');

// Watch: { states, end } fills as messages come, up to the status of the end.
function watchHealth(name = '', on = new grpc.Client(GP_TARGET, grpc.credentials.createInsecure())) {
    const request = name ? Buffer.concat([Buffer.from([0x0a, name.length]), Buffer.from(name)]) : Buffer.alloc(0);
    const s = on.makeServerStreamRequest('/grpc.health.v1.Health/Watch', (b) => b, (b) => b, request, new grpc.Metadata());
    const seen = { states: [], end: null, cancel: () => s.cancel() };
    s.on('data', (b) => seen.states.push(b.toString('hex')));
    s.on('error', () => {});
    s.on('status', (status) => { seen.end = status; });
    return seen;
}
const watching = watchHealth();
ok(await soon(() => watching.states.join() === '0801'), 'Watch begins with what is', watching);
const unknown = watchHealth('gitpod.v1.WorkspaceService');
ok(await soon(() => unknown.states.join() === '0803' && !unknown.end), 'one service by name is unknown, as Watch says that', unknown);
const several = Array.from({ length: 3 }, () => new grpc.Client(GP_TARGET, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 }));
const crowd = Array.from({ length: 260 }, (_, i) => watchHealth('', several[i % 3])); // 128 streams a connection
ok(await soon(() => crowd.filter((w) => w.end?.code === 8).length === 6), '256 may watch in a worker', crowd.filter((w) => w.end).length);
crowd.forEach((w) => w.cancel());
unknown.cancel();
ok(await soon(async () => {
    const again = watchHealth();
    await soon(() => again.states.length > 0 || again.end);
    again.cancel();
    return again.states.length === 1;
}), 'who goes makes room');

// ---- reflection: as grpcurl asks, one stream, the next question when the last is answered ----
const text = (n, value) => Buffer.concat([Buffer.from([n << 3 | 2, value.length]), Buffer.from(value)]);
// The fields of a message: [number, bytes], those of bytes only.
function fields(bytes) {
    const found = [];
    for (let at = 0; at < bytes.length;) {
        const varint = () => { let v = 0; for (let shift = 0; ; shift += 7) { const b = bytes[at++]; v |= (b & 127) << shift; if (b < 128) return v; } };
        const tag = varint();
        if ((tag & 7) === 2) { const n = varint(); found.push([tag >> 3, bytes.subarray(at, at + n)]); at += n; }
        else if ((tag & 7) === 0) varint();
        else throw new Error(`wire ${tag & 7}`);
    }
    return found;
}
const field = (bytes, number) => fields(bytes).filter(([n]) => n === number).map(([, b]) => b);
function reflection(version = 'v1') {
    const s = new grpc.Client(GP_TARGET, grpc.credentials.createInsecure())
        .makeBidiStreamRequest(`/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`, (b) => b, (b) => b, new grpc.Metadata(), { deadline: Date.now() + 10000 });
    const waiting = [];
    const ended = new Promise((done) => s.on('status', (status) => { done(status); waiting.splice(0).forEach((w) => w(null)); }));
    s.on('data', (b) => waiting.shift()?.(b));
    s.on('error', () => {});
    return { ask: (b) => new Promise((done) => { waiting.push(done); s.write(b); }), end: () => { s.end(); return ended; }, ended };
}
for (const version of ['v1', 'v1alpha']) {
    const info = reflection(version);
    const services = field(field(await info.ask(text(7, '*')), 6)[0], 1).map((b) => field(b, 1)[0].toString());
    ok(['gitpod.v1.WorkspaceService', 'gitpod.v1.UserService', 'gitpod.extension.v1.GitTokenService'].every((name) => services.includes(name)), `${version}: the services`, services);
    ok(!services.some((name) => name.includes('internal')), 'and no internal one', services);
    // What a file imports is asked for by name, until all is there: then a client is made of it.
    const files = new Map();
    const take = (answer) => {
        const file = field(field(answer, 4)[0], 1)[0];
        files.set(field(file, 1)[0].toString(), file);
        return field(file, 3).map(String);
    };
    const wanted = take(await info.ask(text(4, 'gitpod.v1.WorkspaceService.GetWorkspace')));
    for (const name of wanted) if (!files.has(name)) wanted.push(...take(await info.ask(text(3, name))));
    const set = Buffer.concat([...files.values()].map((file) => { const n = []; for (let v = file.length; ; v >>= 7) { if (v < 128) { n.push(v); break; } n.push(v & 127 | 128); } return Buffer.concat([Buffer.from([10, ...n]), file]); }));
    const made = grpc.loadPackageDefinition(loader.loadFileDescriptorSetFromBuffer(set)).gitpod.v1;
    const got = await call('GetWorkspace', { workspace_id: 'amber' }, metadata(), {}, new made.WorkspaceService(GP_TARGET, grpc.credentials.createInsecure()));
    ok(got.response?.workspace.id === 'amber', `a call by what it told, in ${files.size} files`, got);
    const missing = field(await info.ask(text(4, 'gitpod.v1.Nothing')), 7);
    ok(missing.length === 1 && missing[0][1] === 5, 'a symbol that is not there', missing);
    is({ ...(await info.end()) }, 0, /^(OK)?$/, 'and the stream ends well');
}
let odd = reflection();
ok(await odd.ask(Buffer.from([0x22, 5, 65])) === null && (await odd.ended).code === 3, 'what is no request ends it');
odd = reflection();
const many1 = await Promise.all(Array.from({ length: 257 }, () => odd.ask(text(7, ''))));
ok(many1.filter((b) => b !== null).length === 256 && (await odd.ended).code === 8, 'so do too many');

// ---- bare frames ----
const session = http2.connect(`http://${GP_TARGET}`);
function raw(headers, body = Buffer.alloc(5)) {
    return new Promise((done) => {
        const s = session.request({ ':method': 'POST', ':path': '/gitpod.v1.WorkspaceService/GetWorkspace', 'content-type': 'application/grpc', te: 'trailers', authorization: `Bearer ${GP_TOKEN}`, ...headers });
        const got = { body: Buffer.alloc(0), trailers: null };
        s.on('response', (head, flags) => { got.head = head; got.ended = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0; });
        s.on('trailers', (trailers) => { got.trailers = trailers; });
        s.on('data', (piece) => { got.body = Buffer.concat([got.body, piece]); });
        s.on('error', (error) => { got.error = error.message; });
        s.on('close', () => done(got));
        s.end(body);
    });
}
r = await raw({});
ok(r.head[':status'] === 200 && !r.ended && r.trailers['grpc-status'] === '0' && r.body.length > 5, 'success: headers, data, trailers', r);
ok(r.head['content-type'] === 'application/grpc+proto', 'of type gRPC', r.head);
r = await raw({ authorization: 'Bearer gitpod_pat_nobody' });
ok(r.head[':status'] === 200 && r.ended && r.head['grpc-status'] === '16' && r.head['www-authenticate'] === 'Bearer', 'a refusal of the gateway is one HEADERS frame', r);
r = await raw({ ':path': '/nothing' });
ok(r.ended && r.head['grpc-status'] === '12', 'so is an unknown path', r);
ok(await ask('log /nothing') === '404 12', 'the log has both statuses');
r = await raw({ 'grpc-timeout': '200m' }, Buffer.from('\0\0\0\0\x06\x0a\x04wait'));
ok(r.trailers?.['grpc-status'] === '4', 'the service keeps to grpc-timeout by itself', r);
r = await raw({ 'grpc-timeout': 'soon' });
ok(r.trailers?.['grpc-status'] === '3', 'a timeout that is none is refused', r);
r = await raw({ 'grpc-encoding': 'br' });
ok(r.trailers?.['grpc-status'] === '12' && r.head['grpc-accept-encoding'] === 'identity', 'the answer says which encodings there are', r);
r = await raw({ 'content-type': 'application/grpc+json' }, Buffer.from('\0\0\0\0\x17{"workspaceId":"amber"}'));
ok(r.trailers?.['grpc-status'] === '0' && JSON.parse(r.body.subarray(5)).workspace.id === 'amber', 'gRPC with JSON', r);
for (const type of ['application/grpc+thrift', 'application/grpcx', 'text/plain']) {
    r = await raw({ 'content-type': type });
    ok(r.head[':status'] === 415 && !('grpc-status' in r.head), `${type}: 415`, r);
}
r = await raw({ 'content-type': 'application/proto' }, Buffer.from('\x0a\x05amber'));
ok(r.head[':status'] === 200 && r.head['content-type'] === 'application/proto', 'Connect on the same port', r);
r = await raw({ 'content-type': 'application/grpc-web+proto' });
ok(r.head[':status'] === 200 && r.body.includes('grpc-status: 0') && !r.trailers, 'gRPC-web too', r);
r = await raw({ ':authority': 'whatever.example:1' });
ok(r.trailers?.['grpc-status'] === '0', 'under any name', r);
r = await raw({ ':path': '/_gitpod/introspect' });
ok(r.ended && r.head['grpc-status'] === '12', 'the gateway\'s own questions are nobody else\'s', r);
r = await raw({ ':path': '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo', authorization: '' }, Buffer.from('\0\0\0\0\x05\x3a'));
ok(r.trailers?.['grpc-status'] === '3', 'a question that is cut', r);
r = await raw({ ':path': '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo' }, Buffer.from('\0\x10\0\0\0x'));
ok(r.trailers?.['grpc-status'] === '3', 'one of 1 MB', r);
r = await raw({ ':path': '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo' }, Buffer.alloc(0));
ok(r.trailers?.['grpc-status'] === '0', 'none', r);
session.close();

// ---- many calls on one connection ----
async function calls(on, name) {
    const bad = [];
    const one = async (id) => {
        const got = await get(id, metadata(), {}, on);
        if (got.response?.workspace.id !== id) bad.push(got);
    };
    const lines = async () => Number(await ask('log /gitpod.v1.WorkspaceService/GetWorkspace lines'));
    const before = await lines();
    for (let i = 0; i < 2500; i++) await one(`s${i}`);
    ok(bad.length === 0, `${name}: 2,500 calls, one after another`, bad.slice(0, 3));
    let i = 0;
    await Promise.all(Array.from({ length: 50 }, async () => { while (i < 2500) await one(`p${i++}`); }));
    ok(bad.length === 0, `${name}: 2,500 calls, 50 at a time`, bad.slice(0, 3));
    const n = (await lines()) - before;
    ok(n === 5000, `${name}: each of them once`, n);
}
await calls(client, 'a client that sends nothing again');
// One that does, as clients are by default: what a GOAWAY says was not begun.
await ask('requests 1000');
ok(await soon(() => watching.end?.code === 14) && watching.states.join() === '0801', 'a reload ends what is watched', watching);
const usual = new proto.WorkspaceService(GP_TARGET, grpc.credentials.createInsecure());
await calls(usual, 'nginx ends each connection after 1,000');
usual.close();

// ---- the service dies ----
const late = watchHealth();
ok(await soon(() => late.states.length === 1), 'somebody watches');
const dying = stream('idle', { each: () => ask('kill') });
is(await dying, 14, /broke/, 'a service that dies in a stream: unavailable');
is(await get('amber'), 14, /Try again/, 'and so is the next call');
ok(await soon(async () => (await health()).body === '0802'), 'the server is not serving then');
ok(await soon(() => late.states.join() === '0801,0802'), 'who watches is told', late);
await ask('start');
ok(await soon(async () => (await health()).body === '0801'), 'and is again');
ok(await soon(() => late.states.join() === '0801,0802,0801' && !late.end), 'and told', late);
ok(await soon(async () => (await get('amber')).code === 0), 'until it is back');

// ---- TLS: the API host, by ALPN ----
const secure = new proto.WorkspaceService(GP_TLS, grpc.credentials.createSsl(readFileSync(GP_CA)), { 'grpc.ssl_target_name_override': GP_API, 'grpc.default_authority': GP_API });
r = await get('amber', metadata(), {}, secure);
ok(r.response?.workspace.id === 'amber', 'a call over TLS', r);
is(await get('fail', metadata(), {}, secure), 5, /there is no workspace/, 'an error over TLS');
is(await get('amber', metadata(''), {}, secure), 16, /token/, 'and a refusal');
const stranger = new proto.WorkspaceService(GP_TLS, grpc.credentials.createSsl(readFileSync(GP_CA)), { 'grpc.ssl_target_name_override': GP_API, 'grpc.default_authority': 'other.example' });
is(await get('amber', metadata(), {}, stranger), 12, /./, 'a host that is not ours has no API');
secure.close();
stranger.close();
client.close();
process.exit(failed ? 1 : 0);
