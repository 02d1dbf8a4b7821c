"""The panel of backfills, read from the gate's logs of all kinds."""

from datetime import tzinfo

from retrain.episode_status import EpisodeStatus, episode_statuses
from schemas.base.figures import zone_of
from truthloop.page.gather.scope import Scope
from truthloop.page.panels.backfill import BackfillPanel, BackfillRow
from truthloop.text.rulings import status_text

__all__ = ["backfills_panel"]

_SQL = (
    "SELECT kind, episode, verdict, causes, labels, since, until, ruled_at, reason\nFROM backfills\n"
    "ORDER BY verdict = 'quarantined' DESC, number DESC"
)


def backfills_panel(scope: Scope) -> BackfillPanel:
    """Return the panel; it shows all kinds, so that a backfill that waits for a person is seen with any selection."""
    zone = zone_of(scope.config.timezone)
    statuses = episode_statuses(entry for log in scope.snapshot.log.values() for entry in log)
    return BackfillPanel(tuple(_row(status, zone) for status in statuses), _SQL)


def _row(status: EpisodeStatus, zone: tzinfo) -> BackfillRow:
    return BackfillRow(
        id=status.episode.id,
        kind=status.episode.kind,
        causes=", ".join(status.episode.causes),
        since_ms=status.episode.since,
        labels=status.episode.labels,
        verdict=status.verdict.value,
        is_waiting=status.is_waiting,
        state=status_text(status, zone),
        why=status.why,
    )
