"""An identity provider on loopback: the client credentials grant of RFC 6749, section 4.4."""

from __future__ import annotations

import base64
import json
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.certificates import unsigned_jwt


@dataclass
class TokenEndpointServer:
    """Gives tokens for ``client`` to whoever knows the secret, and remembers what it was asked."""

    client: str
    client_secret: str
    lifetime_s: float
    given: list[str] = field(default_factory=list)
    scopes: set[str] = field(default_factory=set)
    refused: int = 0
    away: bool = False

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/token"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, authorization: str, form: dict[str, list[str]]) -> tuple[int, dict[str, object]]:
        if self.away:
            return 503, {}
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        name, _, shown = pair.partition(":")
        known = [urllib.parse.unquote_plus(word) for word in (name, shown)] == [self.client, self.client_secret]
        if not known or form.get("grant_type") != ["client_credentials"]:
            self.refused += 1
            return 401, {"error": "invalid_client"}
        self.scopes |= set(form.get("scope", []))
        self.given.append(unsigned_jwt(self.client, self.lifetime_s))
        return 200, {"access_token": self.given[-1], "token_type": "Bearer", "expires_in": self.lifetime_s}


def _handler(server: TokenEndpointServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, said = server.answer(self.headers["Authorization"], urllib.parse.parse_qs(body))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: the tests look at what was asked."""

    return Handler
