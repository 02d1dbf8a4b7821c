"""Environment variables of one run of the demo: its cluster, free ports, a random secret."""

import base64
import secrets
import socket

from schemas.errors import InputError

__all__ = ["demo_environment"]

PORTS = 5
"""One for the page, three for the other roles, one for the pipeline."""

FIRST_PORT, LAST_PORT = 8080, 65_000


def demo_environment(servers: str) -> dict[str, str]:
    """Return overrides of the demo's config for one run.

    Args:
        servers: bootstrap servers of the cluster.
    """
    ports = _free_ports(PORTS)
    pipeline = f"127.0.0.1:{ports[-1]}"
    return {
        "TRUTHLOOP_KAFKA__BOOTSTRAP_SERVERS": servers,
        "TRUTHLOOP_HTTP__PORT": str(ports[0]),
        "TRUTHLOOP_RETRAIN__TARGET__URL": f"http://{pipeline}/retrain",
        "TRUTHLOOP_RETRAIN__TARGET__ALLOW": f'["{pipeline}"]',
        "TRUTHLOOP_WEBHOOK_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
    }


def _free_ports(count: int) -> list[int]:
    """Return consecutive free ports, from the default one on."""
    first = FIRST_PORT
    while first + count < LAST_PORT:
        taken = [port for port in range(first, first + count) if not _is_free(port)]
        if not taken:
            return list(range(first, first + count))
        first = taken[-1] + 1
    raise InputError(
        "no ports are free on this machine", where="127.0.0.1", hint="Stop the programs that listen there."
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
