"""A proxy before an object store that counts requests and lets some go wrong, as a process of its own.

It is a process because some calls of the Delta library wait for an answer without giving up the interpreter's lock.
`GET /.proxy` gives the counts, `PUT /.proxy` sets the faults and begins to count anew. `GET /.credentials` hands out
temporary credentials, as a container's host and a credential process do; a request with an expired token is refused.
"""

import json
import random
import re
import socket
import sys
import threading
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

__all__: list[str] = []

CONTROL = "/.proxy"
CREDENTIALS = "/.credentials"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "proxy-connection"}
UNAVAILABLE = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
GONE = b"<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>"
SLOW_S = 0.2

REFUSALS = {"unavailable": (503, UNAVAILABLE), "expired": (400, EXPIRED), "gone": (404, GONE)}


class State:
    """What goes wrong, and what has been asked for.

    A fault has: `kind`, `share` of the requests that `match`es METHOD PATH, and `count`, how many at most.
    Kinds: `unavailable` (503, not carried out), `expired` (400, an expired token), `gone` (404, no such bucket),
    `unconditional` (carried out whatever is there), `cut` (closed, not carried out), `lost` (carried out
    and closed without an answer), `half` (half of the answer), `slow`.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.lock = threading.Lock()
        self.tokens: dict[str, set[str]] = defaultdict(set)
        self.revoked: set[str] = set()
        self.set({})

    def set(self, order: dict[str, Any]) -> None:
        """Begin anew."""
        with self.lock:
            self.faults = [dict(one) for one in order.get("faults", [])]
            self.random = random.Random(order.get("seed", 0))
            self.requests: list[str] = []
            self.done: Counter[str] = Counter()
            if order.get("revoke"):
                self.revoked.update(*self.tokens.values())
            self.tokens = defaultdict(set)
            self.lifetime_ms = order.get("lifetime_ms")

    def credentials(self) -> bytes | None:
        """Return new credentials, whose token is the time of its end; None: there are none to be had."""
        if self.lifetime_ms is None:
            return None
        end = datetime.now(UTC) + timedelta(milliseconds=self.lifetime_ms)
        document = {"Version": 1, "AccessKeyId": "temporary", "SecretAccessKey": "test"}
        token = str(end.timestamp())
        document |= {"Token": token, "SessionToken": token, "Expiration": end.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        return json.dumps(document).encode()

    def _is_expired(self, token: str | None, client: str) -> bool:
        """Note the token of a client; tell whether it is past its end."""
        if token is None:
            return False
        with self.lock:
            self.tokens[client].add(token)
        return _is_past(token) or token in self.revoked

    def outlived(self) -> dict[str, int]:
        """Return how many tokens each client has used that are past their end by now."""
        with self.lock:
            return {client: sum(map(_is_past, tokens)) for client, tokens in self.tokens.items()}

    def fault(self, request: str, headers: Message) -> str:
        """Count a request and return what is to go wrong with it; empty: nothing."""
        if self._is_expired(headers.get("X-Amz-Security-Token"), headers.get("User-Agent", "").partition("/")[0]):
            return "expired"
        with self.lock:
            self.requests.append(request)
            for one in self.faults:
                if not re.search(one.get("match", ""), request) or one.get("count", 1) <= 0:
                    continue
                if self.random.random() < one.get("share", 1):
                    if "count" in one:
                        one["count"] -= 1
                    self.done[one["kind"]] += 1
                    return str(one["kind"])
        return ""


def _is_past(token: str) -> bool:
    return float(token) < time.time()


class Handler(BaseHTTPRequestHandler):
    """Hands a request on, or lets it go wrong."""

    protocol_version = "HTTP/1.1"
    state: State

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def answer(self) -> None:
        """Answer a request of any method."""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == CONTROL:
            return self.control(body)
        if self.path == CREDENTIALS:
            found = self.state.credentials()
            return self.reply(503 if found is None else 200, {"Content-Type": "application/json"}, found or b"")
        fault = self.state.fault(f"{self.command} {self.path}", self.headers)
        if fault == "slow":
            time.sleep(SLOW_S)
        if fault in REFUSALS:
            return self.reply(REFUSALS[fault][0], {"Content-Type": "application/xml"}, REFUSALS[fault][1])
        if fault == "unconditional":
            del self.headers["If-None-Match"]
        if fault == "cut":
            return self.hang_up()
        return self.carry_out(fault, body)

    def carry_out(self, fault: str, body: bytes) -> None:
        """Hand a request on, and answer with all, a part or nothing of what comes back."""
        upstream = HTTPConnection(str(self.state.upstream.hostname), self.state.upstream.port, timeout=60)
        upstream.request(self.command, self.path, body, {**self.headers, "Connection": "close"})
        found = upstream.getresponse()
        content = found.read()
        headers = {name: value for name, value in found.getheaders() if name.lower() not in HOP_BY_HOP}
        upstream.close()
        if fault == "lost":
            return self.hang_up()
        if fault == "half" and len(content) > 1:
            self.reply(found.status, headers, content, content[: len(content) // 2])
            return self.hang_up()
        return self.reply(found.status, headers, content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 - the server looks for these names

    def control(self, body: bytes) -> None:
        """Set faults, or give the counts."""
        if self.command == "PUT":
            self.state.set(json.loads(body))
        outlived = self.state.outlived()
        with self.state.lock:
            document = {"requests": self.state.requests, "faults": self.state.done, "outlived": outlived}
        self.reply(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def reply(self, status: int, headers: dict[str, str], content: bytes, sent: bytes | None = None) -> None:
        """Send an answer, or only the beginning of its content."""
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content if sent is None else sent)

    def hang_up(self) -> None:
        """Close the connection."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


def main(upstream: str) -> None:
    """Serve until the process ends; print the port first."""
    handler = type("OneHandler", (Handler,), {"state": State(upstream)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)  # noqa: T201 - the parent reads it
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
