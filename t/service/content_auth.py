#!/usr/bin/env python3
"""The auth service as content sees it: GetGitToken over the gateway's internal socket.

Usage: content_auth.py SOCKET USER:TOKEN_FILE

Answers in binary protobuf. The file holds "<host> <user name> <token>" lines and is
read at each call. Ends when standard input closes.
"""
import http.server
import json
import os
import socketserver
import sys
import threading


def field(data, number):
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        value = data[at + 2:at + 2 + length]
        if tag >> 3 == number:
            return value.decode()
        at += 2 + length
    return ""


def text(number, value):
    raw = value.encode()
    return bytes([number << 3 | 2, len(raw)]) + raw


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def address_string(self):
        return "unix"

    def reply(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        request = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        host = field(request, 2)
        with open(sys.argv[2], encoding="utf-8") as lines:
            for line in lines:
                known, user, value = line.split()
                if known == host:
                    self.reply(200, "application/proto", text(1, user) + text(2, value))
                    return
        self.reply(404, "application/json", json.dumps({"code": "not_found", "message": "no token"}).encode())


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


server = Server(sys.argv[1], Handler)
os.chmod(sys.argv[1], 0o666)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
