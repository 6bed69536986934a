"""The HTTP endpoint: ``/metrics``, ``/livez``, ``/readyz``, on threads of its own: a slow scrape delays no record."""

from __future__ import annotations

import logging
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from keepstream.app.config.settings import HttpSettings
from keepstream.app.worker.health import Health
from keepstream.sinks.prometheus.metrics import CONTENT_TYPE

log = logging.getLogger(__name__)
_REQUEST_TIMEOUT_S = 5.0


class Endpoint:
    """The worker's HTTP server. Raises OSError, with the address, when it cannot be bound."""

    def __init__(self, settings: HttpSettings, health: Health) -> None:
        try:
            self._server = ThreadingHTTPServer((settings.host, settings.port), _handler(health))
        except OSError as error:
            where = f"KEEPSTREAM_HTTP__HOST and __PORT, {settings.host}:{settings.port}"
            raise OSError(error.errno, f"{where}: {error.strerror}") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="http endpoint", daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_port

    def start(self) -> None:
        self._thread.start()
        log.info("serving /metrics, /livez and /readyz on %s:%d", *self._server.server_address[:2])

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(health: Health) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_TIMEOUT_S

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(HTTPStatus.OK, health.metrics.render(), CONTENT_TYPE)
            elif path == "/livez":
                self._verdict(health.alive())
            elif path == "/readyz":
                self._verdict(health.ready())
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"try /metrics, /livez or /readyz\n")

        def _verdict(self, verdict: tuple[bool, str]) -> None:
            good, why = verdict
            self._answer(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, f"{why}\n".encode())

        def _answer(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Log nothing: a scrape comes every few seconds."""

    return Handler
