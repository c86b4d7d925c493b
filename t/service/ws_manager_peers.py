#!/usr/bin/env python3
"""Content and the editor catalogue as ws_manager's gateway socket shows them,
for tests of ws_manager alone: Connect with binary protobuf on a unix socket.
What the next call does stands in <dir>/plan (JSON): delay, fail, stall,
missing_editor. Every call is a line of <dir>/calls.

  ws_manager_peers.py SOCKET STATE_DIR DIR
"""
import json
import os
import socketserver
import struct
import sys
import time
from http.server import BaseHTTPRequestHandler

SOCKET, STATE, DIR = sys.argv[1:4]


def varint(n):
    out = b''
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
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


def plan():
    try:
        with open(DIR + '/plan', encoding='utf-8') as f:
            return json.load(f)
    except FileNotFoundError:
        return {}


def note(text):
    with open(DIR + '/calls', 'a', encoding='utf-8') as f:
        f.write(text + '\n')


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def address_string(self):
        return 'unix'

    def log_message(self, *args):
        pass

    def unary(self, status, body, kind):
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, code, message):
        self.unary(status, json.dumps({'code': code, 'message': message}).encode(), 'application/json')

    def message(self, flags, data):
        part = struct.pack('>BI', flags, len(data)) + data
        self.wfile.write(b'%x\r\n' % len(part) + part + b'\r\n')
        self.wfile.flush()

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        method = self.path.rsplit('/', 1)[1]
        note(method)
        getattr(self, method)(body)

    def ResolveEditor(self, body):
        if plan().get('missing_editor'):
            self.error(404, 'not_found', 'There is no editor "x"; there are: code')
            return
        editor = field(1, 'code') + field(2, 'Code') + field(3, '1') + field(4, 1) + field(5, DIR + '/ide') + \
            field(6, '/ide/bin/editor') + field(7, 'http://127.0.0.1:23000/healthz')
        self.unary(200, field(1, editor), 'application/proto')

    def DeleteWorkspace(self, body):
        path = STATE + '/content/' + parse(body)[1].decode()
        if os.path.exists(path):
            os.rename(path, STATE + '/content/.trash-' + str(time.time()))  # a mount of its own
        self.unary(200, b'', 'application/proto')

    def progress(self, step, detail, percent, result=None):
        data = field(1, step) + field(2, detail) + field(3, percent)
        self.message(0, data + (field(4, result) if result else b''))

    def InitializeWorkspace(self, body):
        todo = plan()
        req = parse(body[5:])
        uid = req[4]
        top = STATE + '/content/' + req[1].decode()
        fresh = not os.path.exists(top)
        os.makedirs(top + '/workspace/repo', exist_ok=True)
        os.chmod(top, 0o700)
        os.chown(top, uid, uid)
        for path in ('/workspace', '/workspace/repo'):
            os.chown(top + path, uid + 33333, uid + 33333)
        self.send_response(200)
        self.send_header('Content-Type', 'application/connect+proto')
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        try:
            self.progress(1, 'Connecting to example.org', 0)
            end = time.time() + todo.get('delay', 0)
            while time.time() < end or todo.get('stall'):
                time.sleep(0.1)
                if not todo.get('stall'):
                    self.progress(2, 'Receiving objects: 50 %', 50)
                elif os.path.exists(DIR + '/end'):
                    return
            if todo.get('break'):
                os.unlink(DIR + '/plan')
                self.close_connection = True
                return
            if todo.get('fail'):
                self.message(2, json.dumps({'error': {'code': todo.get('code', 'not_found'), 'message': todo['fail']}}).encode())
            else:
                result = field(1, 'from-other' if fresh else 'from-backup') + field(2, '/workspace/repo') + field(3, 'c0ffee') + \
                    field(4, 'main') + field(5, 'key "image" is not supported yet')
                for port, visible, spoken in todo.get('ports', []):
                    result += field(6, field(1, port) + field(2, visible) + field(3, spoken))
                self.progress(6, '', 100, result)
                self.message(2, b'{}')
            self.wfile.write(b'0\r\n\r\n')
        except BrokenPipeError:
            note('cancelled')
            self.close_connection = True


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


if os.path.exists(SOCKET):
    os.unlink(SOCKET)
Server(SOCKET, Handler).serve_forever()
