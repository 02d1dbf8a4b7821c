"""Fencing: a worker that the cluster shuts out, because another one has its slot or seems to have it.

After a lost connection that other one can be the worker itself: its client joins anew, and a request that it had sent
under its old membership reaches the broker after that. So `KafkaClients.has_lost_connection` tells a worker that may
begin again from one that must end.
"""

from confluent_kafka import KafkaError

from schemas.errors import BrokerError

__all__ = ["FencedError", "membership_ended"]


class FencedError(BrokerError):
    """Another worker with the same slot has fenced this one, which must end."""

    def __init__(self, what: str, *, where: str) -> None:
        super().__init__(what, where=where, hint="Another process has this slot: give every worker its own, --slot N.")


def membership_ended(error: KafkaError, instance: str) -> FencedError | None:
    """Return what to raise if an error ends a consumer's membership of its group for good, else None."""
    if not (error.fatal() or error.code() == KafkaError._FATAL):  # noqa: SLF001 - its public name
        return None
    what = f"this worker is no longer a member of its group: {error.str()}"
    return FencedError(what, where=f"group member {instance}")
