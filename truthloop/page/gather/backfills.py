"""The panel of backfills, read from the gate's logs of all kinds. Must not decide."""

from datetime import tzinfo

from retrain.episode_status import EpisodeStatus, episode_statuses
from truthloop.page.gather.scope import Scope
from truthloop.page.panels.backfill import BackfillPanel, BackfillRow
from truthloop.text.format import zone_of
from truthloop.text.rulings import state_words

__all__ = ["backfills_panel"]

_SQL = (
    "SELECT kind, episode, verdict, causes, labels, since, until, ruled_at, reason\nFROM backfills\n"
    "ORDER BY verdict = 'quarantined' DESC, number DESC"
)


def backfills_panel(scope: Scope) -> BackfillPanel:
    """Return the panel; it is about all kinds, because what waits for a person is to be seen whatever is chosen."""
    zone = zone_of(scope.config.timezone)
    standings = episode_statuses(entry for log in scope.snapshot.log.values() for entry in log)
    return BackfillPanel(tuple(_told(one, zone) for one in standings), _SQL)


def _told(one: EpisodeStatus, zone: tzinfo) -> BackfillRow:
    return BackfillRow(
        id=one.episode.id,
        kind=one.episode.kind,
        causes=", ".join(one.episode.causes),
        since_ms=one.episode.since,
        labels=one.episode.labels,
        verdict=one.verdict.value,
        is_waiting=one.is_waiting,
        state=state_words(one, zone),
        why=one.why,
    )
