"""A local server that imitates the interface of the IllustrisTNG data base, with its moods."""

import http.server
import time

import numpy as np

SECRET = "0123456789abcdef-secret"


def content(subhalo, size=200_000):
    """Return bytes that begin like a FITS file."""
    return b"SIMPLE  = T" + np.random.default_rng(subhalo).bytes(size)


class Server(http.server.ThreadingHTTPServer):
    """Files of sub-haloes below 100; `script` holds what goes wrong with the next requests."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.script, self.version, self.ranges = [], [], '"1"', True
        self.files = {}
        self.api = f"http://127.0.0.1:{self.server_port}/api"

    def handle_error(self, request, client_address):
        """Pass over clients that hang up."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answer as the interface does: check the key, redirect to the file, send it or a part of it."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Say nothing."""

    def refuse(self, code, **headers):
        """Send a status without content."""
        self.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def do_GET(self):
        """Do what the script says, or what is right."""
        server = self.server
        server.requests.append((self.path, dict(self.headers.items()), time.monotonic()))
        parts = self.path.strip("/").split("/")
        trouble = server.script.pop(0) if server.script and parts[0] == "api" else {}
        if parts[0] == "api" and self.headers.get("api-key") != SECRET:
            return self.refuse(403)
        if "status" in trouble:
            return self.refuse(trouble["status"], **trouble.get("headers", {}))
        if "redirect" in trouble:
            return self.refuse(302, Location=trouble["redirect"] + "/data/" + "/".join(parts[1:]))
        subhalo = int(parts[parts.index("subhalos") + 1])
        if subhalo >= 100:
            return self.refuse(404)
        return self.send(server.files.get(subhalo, content(subhalo)), trouble)

    def send(self, data, trouble):
        """Send a file, the part that was asked for, or less."""
        start, status = 0, 200
        wanted = self.headers.get("Range")
        if wanted and self.server.ranges and self.headers.get("If-Range") in (None, self.server.version):
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(data):
                return self.refuse(416)
        start = trouble.get("start", start)
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Type", trouble.get("type", "application/octet-stream"))
        self.send_header("Content-Length", str(len(data) - start))
        if self.server.version:
            self.send_header("ETag", self.server.version)
        self.end_headers()
        self.wfile.write(data[start : start + trouble.get("stop", len(data))])
        if "stop" in trouble:
            self.close_connection = True
        return None
