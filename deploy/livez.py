"""Asks the role that runs in this container whether it lives; for images, whose health checks need a command.

    python livez.py            the ports of all roles, of which at least one must answer
    python livez.py 8082       this port

Exit code 1: a role says that it does not get on, or none answers. Uses nothing but Python.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

ROLES = 4
"""Each listens on a port of its own: the deciding one on `http.port`, the others on those after it."""

HTTP_PORT = 8080
"""Of a config that names none."""

TIMEOUT_S = 3
OK = 200


def main() -> None:
    """Ask, and say what was heard."""
    first = int(os.environ.get("TRUTHLOOP_HTTP__PORT", HTTP_PORT))
    ports = [int(word) for word in sys.argv[1:]] or range(first, first + ROLES)
    heard = {port: answer for port in ports if (answer := ask(port)) is not None}
    for port, (_, text) in heard.items():
        print(f"{port}: {text}")
    if not heard:
        sys.exit("no role answers")
    sys.exit(any(status != OK for status, _ in heard.values()))


def ask(port: int) -> tuple[int, str] | None:
    """Return the answer of a port to /livez; None if nobody listens."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/livez")
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace").strip()
    except ConnectionRefusedError:
        return None
    except (OSError, HTTPException) as error:
        return 0, f"{type(error).__name__}: {error}"
    finally:
        connection.close()


if __name__ == "__main__":
    main()
