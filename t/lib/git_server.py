#!/usr/bin/env python3
"""A small smart-HTTP git server for tests: `git http-backend` behind http.server.

Usage: git_server.py ROOT [USER:PASSWORD]

Serves the bare repositories below ROOT on a free port of 127.0.0.1, prints the
port on the first line, ends when standard input closes. Repositories whose
path starts with /private/ ask for USER:PASSWORD (basic). /slow/ is throttled,
so that a test can act while a clone runs. /hang/ never answers.
"""
import base64
import http.server
import os
import subprocess
import sys
import threading

ROOT = os.path.abspath(sys.argv[1])
AUTH = base64.b64encode(sys.argv[2].encode()).decode() if len(sys.argv) > 2 else None
CLOSED = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.serve()

    def do_POST(self):
        self.serve()

    def body(self):
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            data = b""
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                data += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return data
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def serve(self):
        path, _, query = self.path.partition("?")
        if path.startswith("/private/") and self.headers.get("Authorization") != f"Basic {AUTH}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        if path.startswith("/hang/"):
            CLOSED.wait(300)
            return
        slow = path.startswith("/slow/")
        for prefix in ("/private", "/slow"):
            if path.startswith(prefix + "/"):
                path = path[len(prefix):]
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": ROOT,
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "5",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_CONFIG_KEY_1": "uploadpack.allowAnySHA1InWant",
            "GIT_CONFIG_VALUE_1": "true",
            "GIT_CONFIG_KEY_2": "uploadpack.allowFilter",
            "GIT_CONFIG_VALUE_2": "true",
            # Random data neither deltas nor deflates: do not try.
            "GIT_CONFIG_KEY_3": "core.bigFileThreshold",
            "GIT_CONFIG_VALUE_3": "1m",
            "GIT_CONFIG_KEY_4": "pack.compression",
            "GIT_CONFIG_VALUE_4": "0",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "REMOTE_ADDR": self.client_address[0],
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        if self.headers.get("Content-Encoding"):
            env["HTTP_CONTENT_ENCODING"] = self.headers["Content-Encoding"]
        body = self.body()
        env["CONTENT_LENGTH"] = str(len(body))
        out = subprocess.run(["git", "http-backend"], env=env, input=body, stdout=subprocess.PIPE, check=False).stdout
        head, _, rest = out.partition(b"\r\n\r\n")
        status = 200
        headers = []
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            if name == "Status":
                status = int(value.split()[0])
            elif name:
                headers.append((name, value))
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if not slow:
            self.wfile.write(rest)
            return
        for at in range(0, len(rest), 16384):
            self.wfile.write(rest[at:at + 16384])
            self.wfile.flush()
            if CLOSED.wait(0.1):
                return


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients that go away are part of the tests


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
CLOSED.set()
server.shutdown()
