"""Faults of a valid config that a role would find only at its start, or only when it sends the first request."""

from collections.abc import Callable, Iterator

from retrain.address_guard import check_url, parse_allowed
from schemas.base.problem import Path, Problem
from schemas.config.loop import LoopConfig
from schemas.errors import ConfigError
from streams.kafka.client import check_limits

__all__ = ["startup_problems"]


def startup_problems(config: LoopConfig) -> list[Problem]:
    """Return the faults: properties of Kafka's client that exclude each other, a target that nothing can be sent to.

    Nothing is sent and no name is resolved.
    """
    found: list[Problem] = []
    if (kafka := config.kafka) is not None:
        found += _problems(("kafka", "client"), lambda: check_limits(kafka))
    if config.retrain is not None:
        target = config.retrain.target
        allow = ("retrain", "target", "allow")
        if wrong := list(_problems(allow, lambda: parse_allowed(target.allow))):
            return found + wrong
        found += _problems(("retrain", "target", "url"), lambda: check_url(target.url, parse_allowed(target.allow)))
    return found


def _problems(path: Path, check: Callable[[], object]) -> Iterator[Problem]:
    try:
        check()
    except ConfigError as error:
        yield Problem(path, f"{error.what}. {error.hint}" if error.hint else error.what)
