"""The scheduler's health over HTTP: /health for a supervisor, /metrics in Prometheus' text format.

It listens on loopback unless told otherwise, and then requires a token. Without one it answers to its own names alone:
a web page of another site, whose name was made to lead here, reads nothing.

The scheduler leaves a snapshot after each step; a request only reads it.
"""

import contextlib
import hmac
import ipaddress
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from bc4all.errors import ConfigurationError
from bc4all.schedule.metrics import CONTENT_TYPE, SchedulerCollector, text
from bc4all.schedule.snapshot import Snapshot
from bc4all.variables import HEALTH_TOKEN

_REQUEST_S = 10.0  # seconds for a whole request: none holds a thread for longer, however slowly it comes
_AT_ONCE = 16  # requests; one more is closed unread
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class _Server(ThreadingHTTPServer):
    """Answers a bounded number of requests at a time, each within a bounded time."""

    daemon_threads = True
    request_queue_size = 4 * _AT_ONCE

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._free = threading.BoundedSemaphore(_AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin to answer, where there is room."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread could be started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, in a thread of its own."""
        deadline = threading.Timer(_REQUEST_S, _hang_up, [request])
        deadline.daemon = True
        try:
            deadline.start()
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave a caller that went away, or was hung up on, out of the scheduler's log."""


def _hang_up(request: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended in this moment
        request.shutdown(socket.SHUT_RDWR)


class HealthServer:
    """Answers from a thread of its own, until it is closed."""

    def __init__(self, host: str, port: int, token: str | None = None) -> None:
        """Listen on an address; with a token, answer only who sends it as `Authorization: Bearer`.

        Raises ConfigurationError for an address that others reach without a token, and for one that cannot be had.
        """
        if not token and not _is_loopback(host):
            remedy = f"set {HEALTH_TOKEN} to some 32 random letters, or leave `scheduler: {{host: …}}` out"
            raise ConfigurationError(f"{host} is not loopback, and there is no token", "scheduler.host", remedy)
        self.snapshot = Snapshot(last_tick=time.time())
        owner, expected = self, f"Bearer {token}".encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                given = self.headers.get("Authorization", "").encode()
                if not token and _host_name(self.headers.get("Host", host)) not in {host, *_LOOPBACK}:
                    self._answer(421, "text/plain", "this is no name of this server\n")
                elif token and not hmac.compare_digest(given, expected):
                    self._answer(401, "text/plain", "token required\n")
                elif self.path == "/metrics":
                    self._answer(200, CONTENT_TYPE, text(SchedulerCollector(owner.snapshot)))
                elif self.path == "/health":
                    status, body = owner.snapshot.health(time.time())
                    self._answer(status, "application/json", body)
                else:
                    self._answer(404, "text/plain", "there are /health and /metrics\n")

            def _answer(self, status: int, kind: str, content: str) -> None:
                body = content.encode()
                self.send_response(status)
                if status == 401:
                    self.send_header("WWW-Authenticate", "Bearer")
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *values: object) -> None:
                """Leave requests out of the scheduler's log."""

        try:
            self._server = _Server((host, port), Handler)
        except OSError as error:
            remedy = "set `scheduler: {port: …}` in the configuration, 0 for none"
            raise ConfigurationError(f"{host}:{port} cannot be had: {error}", "scheduler.port", remedy) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True, name="health")
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


def _host_name(header: str) -> str:
    """Return the name in a Host header, which a page of another site, that now resolves to here, gives as its own."""
    return (urlsplit(f"//{header}").hostname or "").rstrip(".")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"
