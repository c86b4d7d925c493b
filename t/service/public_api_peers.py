#!/usr/bin/env python3
"""ws_manager and auth as public_api's gateway socket shows them, for tests of
public_api alone: Connect with binary protobuf on a unix socket, state in
memory. Lines on standard input drive it (JSON), each is answered by one line:

  {"do": "change", "id": ID, "phase": N, ...}   a new version of a workspace
  {"do": "flood", "id": ID, "n": N, "size": B}  n changes with long texts
  {"do": "break"}                               ends the watch streams
  {"do": "hold", "on": true}                    new watch streams are refused
  {"do": "vanish", "id": ID}                    deleted, and nobody is told
  {"do": "last"}                                the last CreateWorkspace request

  public_api_peers.py SOCKET
"""
import http.server
import json
import os
import queue
import socketserver
import sys
import threading

LOCK = threading.Lock()
WORKSPACES = {}   # id -> dict
KEYS = {}         # request key -> id
TOKENS = {}       # (user, host) -> user name
WATCHERS = []
LAST = {}
HOLD = False


def varint(n):
    out = b''
    n &= (1 << 64) - 1
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b''
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data if data else b''


def message(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def parse(data):
    out, i = {}, 0

    def take():
        nonlocal i
        n = shift = 0
        while True:
            b = data[i]
            i += 1
            n |= (b & 127) << shift
            shift += 7
            if b < 128:
                return n
    while i < len(data):
        key = take()
        if key & 7 == 0:
            out[key >> 3] = take()
        else:
            size = take()
            out[key >> 3] = data[i:i + size]
            i += size
    return out


def text(request, number):
    return request.get(number, b'').decode()


def encode(w):
    instance = (field(1, w['instance']) + field(2, w['phase']) + message(3, field(1, 1700000000)) + field(4, w['version']) + field(5, w['failed'])
                + field(6, w['failed_reason']) + field(7, w['timeout']) + field(8, w['step']) + field(9, w['detail']) + field(10, w['percent'])
                + field(13, 'code'))
    return (field(1, w['id']) + field(2, w['owner']) + field(3, w['name']) + field(4, w['pinned']) + field(5, w['url']) + message(6, w['git'])
            + field(7, 'default') + field(8, f"http://{w['id']}.ws-gp.test:8080/") + message(11, instance) + field(12, w.get('deleted', False))
            + field(13, 'c' * 40) + field(14, 'main')
            + b''.join(message(15, field(1, p) + field(2, v[0]) + field(3, v[1])
                               + field(4, f"http://{p}-{w['id']}.ws-gp.test:8080/")) for p, v in sorted(w['ports'].items())))


def publish(w):
    w['version'] += 1
    for q in WATCHERS:
        q.put(field(1, encode(w)))


class Fail(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def own(user, workspace):
    w = WORKSPACES.get(workspace)
    if w is None or w['owner'] != user:
        raise Fail(404, 'not_found', f'there is no workspace {workspace}')
    return w


def create(r):
    LAST.clear()
    LAST.update({n: text(r, n) for n in (1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13)})
    git = parse(r[5])
    LAST['git'] = [text(git, 1), git.get(2, 0), text(git, 3), text(git, 4)]
    key = (text(r, 1), text(r, 2))
    if key not in KEYS:
        wid = f'acme-app-{len(KEYS):08d}'
        KEYS[key] = wid
        WORKSPACES[wid] = {'id': wid, 'owner': text(r, 1), 'name': text(r, 3), 'pinned': False, 'url': text(r, 4), 'git': r[5], 'instance': '0' * 36,
                           'phase': 1, 'version': 0, 'failed': '', 'failed_reason': 0, 'timeout': '', 'step': '', 'detail': '', 'percent': 0, 'ports': {}}
        publish(WORKSPACES[wid])
    return message(1, encode(WORKSPACES[KEYS[key]]))


def update(r):
    w = own(text(r, 1), text(r, 2))
    if 3 in r:
        w['name'] = text(r, 3)
    if 4 in r:
        w['pinned'] = bool(r[4])
    publish(w)
    return message(1, encode(w))


def update_port(r):
    w = own(text(r, 1), text(r, 2))
    old = w['ports'].get(r[3], (False, 'http'))
    w['ports'][r[3]] = (bool(r[4]) if 4 in r else old[0], text(r, 5) or old[1])
    publish(w)
    return message(1, encode(w))


def delete(r):
    w = own(text(r, 1), text(r, 2))
    w['deleted'] = True
    publish(w)
    del WORKSPACES[w['id']]
    return b''


def listing(r):
    found = [w for w in WORKSPACES.values() if w['owner'] == text(r, 1) and (not r.get(2) or w['pinned']) and text(r, 3) in w['name']]
    page = found[r.get(4, 0):r.get(4, 0) + r.get(5, 0)]
    return b''.join(message(1, encode(w)) for w in page) + field(2, len(found))


def active(r):
    if own(text(r, 1), text(r, 2))['phase'] != 6:
        raise Fail(412, 'failed_precondition', 'the workspace is not running')
    return b''


def get_user(r):
    return message(1, field(1, text(r, 1)) + field(2, 'admin') + field(3, 'a@example.com') + message(5, field(1, 1700000000)) + field(6, True))


def set_token(r):
    TOKENS[text(r, 1), text(r, 2)] = text(r, 3) or 'oauth2'
    return message(1, field(1, text(r, 2)) + field(2, text(r, 3) or 'oauth2'))


def list_tokens(r):
    return b''.join(message(1, field(1, host) + field(2, name)) for (user, host), name in sorted(TOKENS.items()) if user == text(r, 1))


def delete_token(r):
    if TOKENS.pop((text(r, 1), text(r, 2)), None) is None:
        raise Fail(404, 'not_found', 'there is no git token for that host')
    return b''


METHODS = {
    'CreateWorkspace': create, 'UpdateWorkspace': update, 'UpdatePort': update_port, 'DeleteWorkspace': delete, 'ListWorkspaces': listing, 'MarkActive': active, 'GetUser': get_user,
    'GetWorkspace': lambda r: message(1, encode(own(text(r, 1), text(r, 2)))),
    'StartWorkspace': lambda r: message(1, encode(own(text(r, 1), text(r, 2)))),
    'StopWorkspace': lambda r: own(text(r, 1), text(r, 2)) and b'',
    'GetOwnerToken': lambda r: own(text(r, 1), text(r, 2)) and field(1, 'o' * 32),
    'ListWorkspaceClasses': lambda r: message(1, field(1, 'default') + field(2, 'Default') + field(4, True)),
    'SetGitToken': set_token, 'ListGitTokens': list_tokens, 'DeleteGitToken': delete_token,
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def address_string(self):
        return 'unix'

    def do_POST(self):
        method = self.path.rsplit('/', 1)[1]
        body = self.rfile.read(int(self.headers['Content-Length']))
        if method == 'WatchWorkspaces':
            self.watch()
            return
        try:
            with LOCK:
                status, kind, data = 200, 'application/proto', METHODS[method](parse(body))
        except Fail as e:
            status, kind, data = e.status, 'application/json', json.dumps({'code': e.code, 'message': e.message}).encode()
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def watch(self):
        self.close_connection = True
        q = queue.Queue()
        with LOCK:
            if HOLD:
                self.send_response(503)
                self.send_header('Content-Length', '0')
                self.end_headers()
                return
            for w in WORKSPACES.values():
                q.put(field(1, encode(w)))
            WATCHERS.append(q)
        self.send_response(200)
        self.send_header('Content-Type', 'application/connect+proto')
        self.end_headers()
        try:
            while (data := q.get()) is not None:
                self.wfile.write(b'\0' + len(data).to_bytes(4, 'big') + data)
        except OSError:
            pass
        with LOCK:
            if q in WATCHERS:
                WATCHERS.remove(q)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


def drive(c):
    global HOLD
    if c['do'] in ('change', 'flood'):
        w = WORKSPACES[c['id']]
        for _ in range(c.get('n', 1)):
            w.update({k: v for k, v in c.items() if k in w and k != 'id'})
            w['detail'] = 'x' * c.get('size', 0) or w['detail']
            publish(w)
    elif c['do'] == 'break':
        for q in WATCHERS:
            q.put(None)
        WATCHERS.clear()
    elif c['do'] == 'hold':
        HOLD = c['on']
    elif c['do'] == 'vanish':
        del WORKSPACES[c['id']]
    return {'last': LAST, 'watchers': len(WATCHERS)}


server = Server(sys.argv[1], Handler)
os.chmod(sys.argv[1], 0o666)
threading.Thread(target=server.serve_forever, daemon=True).start()
print('ready', flush=True)
for line in sys.stdin:
    with LOCK:
        answer = drive(json.loads(line))
    print(json.dumps(answer), flush=True)
