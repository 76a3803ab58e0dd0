"""A real HTTP server on this computer that serves one file and misbehaves on request."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Manners:
    """How the server behaves; changed by a test while it runs.

    Attributes:
        data: the file.
        etag: sent with it, when not empty.
        ranges: whether it can send parts.
        break_after: bytes after which it hangs up, for the first ``breaks`` answers.
        says_size: what it claims as Content-Length; None for the truth.
        status: answered instead of the file, for the first ``failures`` requests.
        location: where it redirects to.
        pause_s: between pieces of 64 kB.
        extra: bytes sent in excess, without a Content-Length.
    """

    data: bytes
    etag: str = '"one"'
    ranges: bool = True
    break_after: int = 0
    breaks: int = 0
    says_size: int | None = None
    status: int = 0
    failures: int = 1 << 30
    location: str = ""
    pause_s: float = 0.0
    extra: bytes = b""
    encoding: str = ""
    requests: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0


class _Handler(BaseHTTPRequestHandler):
    manners: Manners
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        """Be a proxy for https: pass on what both sides say without understanding it."""
        self.close_connection = True
        self.manners.requests.append({**dict(self.headers.items()), "path": self.path})
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port)), 5) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_relay, args=(there, self.connection), daemon=True)
            back.start()
            _relay(self.connection, there)
            back.join(5)

    def do_GET(self) -> None:
        self.close_connection = True
        manners = self.manners
        manners.requests.append({**dict(self.headers.items()), "path": self.path})
        if manners.location and not self.path.startswith("/there"):
            self._head(302, {"Location": manners.location, "Content-Length": "0"})
            return
        if manners.status and manners.failures > 0:
            manners.failures -= 1
            self._head(manners.status, {"Content-Length": "0"})
            return
        start = self._start()
        if start > len(manners.data) or (start and start == len(manners.data)):
            self._head(416, {"Content-Range": f"bytes */{len(manners.data)}", "Content-Length": "0"})
            return
        body = manners.data[start:]
        headers = {"ETag": manners.etag} if manners.etag else {}
        if manners.encoding:
            headers["Content-Encoding"] = manners.encoding
        if not manners.extra:
            headers["Content-Length"] = str(len(body) if manners.says_size is None else manners.says_size)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(manners.data) - 1}/{len(manners.data)}"
        self._head(206 if start else 200, headers)
        self._send(body + manners.extra)

    def _start(self) -> int:
        wanted = self.headers.get("Range", "")
        if not self.manners.ranges or not wanted.startswith("bytes="):
            return 0
        validator = self.headers.get("If-Range")
        if validator and validator != self.manners.etag:
            return 0
        return int(wanted.removeprefix("bytes=").split("-")[0])

    def _send(self, body: bytes) -> None:
        manners = self.manners
        stop = len(body)
        if manners.breaks > 0:
            manners.breaks -= 1
            stop = min(stop, manners.break_after)
        with contextlib.suppress(OSError):
            for begin in range(0, stop, 65536):
                piece = body[begin : min(begin + 65536, stop)]
                self.wfile.write(piece)
                manners.sent += len(piece)
                time.sleep(manners.pause_s)
            self.wfile.flush()
            if stop < len(body):
                self.connection.shutdown(socket.SHUT_RDWR)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _relay(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def serving(manners: Manners, certificate: Path | None = None) -> Iterator[str]:
    """Serve until the block ends; gives the address of the file.

    Args:
        manners: what and how.
        certificate: with it over https; a file with certificate and key.
    """
    handler = type("Handler", (_Handler,), {"manners": manners})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if certificate is None else "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}/models/net.bin"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
