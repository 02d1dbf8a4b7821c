"""A token endpoint of OAuth on loopback: gives unsigned tokens to the one client that it knows."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs

__all__ = ["CLIENT", "SECRET", "Issuer", "issuing", "unsigned_token"]

CLIENT, SECRET = "loop", "not:a/secret ä"


@dataclass
class Issuer:
    """An endpoint.

    Attributes:
        url: of it.
        asked: the form of each request.
        answer: instead of a token: status and body.
    """

    url: str = ""
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    answer: tuple[int, bytes] | None = None


def unsigned_token(user: str, now_s: float, life_s: float = 600.0) -> str:
    """Return a token that a broker without keys accepts."""
    claims = {"sub": user, "iat": now_s - 1, "exp": now_s + life_s, "scope": "kafka"}
    parts = ({"alg": "none"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts) + "."


@contextmanager
def issuing() -> Iterator[Issuer]:
    """Run an endpoint while the block runs."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer with a token."""
            form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            issuer.asked.append(form)
            login = base64.b64decode(self.headers["authorization"].removeprefix("Basic ")).decode()
            if issuer.answer is not None:
                status, body = issuer.answer
            elif login != f"{CLIENT}:{SECRET}":
                status, body = 401, b'{"error": "invalid_client"}'
            else:
                document = {
                    "access_token": unsigned_token(CLIENT, time.time()),
                    "token_type": "Bearer",
                    "expires_in": 600,
                }
                status, body = 200, json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("location", issuer.url)  # of a redirect
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_address[1]}/token"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
