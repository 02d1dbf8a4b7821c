"""Slices of the contract that are not counted apart, and the sentence that says so."""

from schemas.config.loop import LoopConfig

__all__ = ["uncounted_slices", "uncounted_text"]


def uncounted_slices(config: LoopConfig) -> tuple[str, ...]:
    """Return the names of slices that predictions carry and that evidence is not counted by."""
    by_delay = {label.delay_by for label in config.labels.values()}
    return tuple(name for name in config.predictions.slices if name not in {*config.cohorts.by, *by_delay})


def uncounted_text(slice_: str, uncounted: tuple[str, ...]) -> str:
    """Return why a slice has no numbers although predictions carry it; empty if it is not one of those.

    Args:
        slice_: `name=value`, or a name.
        uncounted: as `uncounted_slices` returns them.

    >>> uncounted_text("device=web", ("device",))
    'device is kept with every outcome, but not counted by: `cohorts.by` of the config does not name it'
    """
    name = slice_.partition("=")[0]
    if name not in uncounted:
        return ""
    return f"{name} is kept with every outcome, but not counted by: `cohorts.by` of the config does not name it"
