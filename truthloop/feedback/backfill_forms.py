"""Rulings on the page: what it shows of a backfill, and what becomes of a form that comes back. Wiring only.

Who may look and who names users is the page's matter; what a ruling does is that of `retrain.approval`.
"""

import logging
import secrets
from collections.abc import Callable
from threading import Lock
from typing import Final

from lake import Lake
from retrain.approval import Person, RulingOutcome, RulingResult, Statement
from retrain.episode_status import EpisodeStatus
from retrain.form_token import NONCE_BYTES, TTL_MS, Bound, TokenError, check_token, keys_of, make_token
from retrain.signing import Secret
from schemas.events.backfill import Verdict
from schemas.events.backfill_diff import BackfillDiff
from truthloop.config.settings import Settings
from truthloop.evidence.approvals import approvals_of, diff_of
from truthloop.evidence.diff_log import DiffLog
from truthloop.page.web.access import Access
from truthloop.page.web.backfill_pages import Answered, Form, Shown
from truthloop.text.format import moment, zone_of
from truthloop.text.rulings import refusal_words, state_words

__all__ = ["Rulings"]

log = logging.getLogger("truthloop.feedback")

_VERDICTS: Final = (Verdict.APPROVED, Verdict.REJECTED)
_STATUS: Final = {
    RulingOutcome.UNKNOWN: 404,
    RulingOutcome.INCOMPLETE: 422,
    RulingOutcome.DECIDED: 409,
    RulingOutcome.CHANGED: 409,
    RulingOutcome.USED: 409,
    RulingOutcome.EXPIRED: 410,
    RulingOutcome.BUSY: 503,
}


class Rulings:
    """What the pages about backfills ask for.

    Args:
        settings: of the loop.
        access: who is let in to the page.
        secret: of the webhook; None without one.
        now_ms: the wall clock.
        refused: called with a word for every refusal.

    Raises:
        LakeError: there is no lake.
    """

    def __init__(
        self,
        settings: Settings,
        access: Access,
        secret: Secret | None,
        now_ms: Callable[[], int],
        refused: Callable[[str], None],
    ) -> None:
        self._loop = settings.config.loop
        self._zone = zone_of(settings.config.timezone)
        self._now_ms = now_ms
        self._keys = keys_of(secret, access.token, secrets.token_bytes(32))
        self._approvals = approvals_of(settings, now_ms)
        self._diffs = DiffLog(Lake.open(settings.lake))
        # a table of the lake is read by one thread at a time
        self._lock = Lock()
        self.refused = refused

    def show(self, episode: str, user: str) -> Shown | None:
        """Return what is shown of a backfill; None: unknown.

        Raises:
            LakeError: the lake cannot be read.
        """
        standing = self._approvals.standing(episode)
        if standing is None:
            return None
        now_ms = self._now_ms()
        token = until = ""
        if standing.is_waiting:
            bound = self._bound(episode, standing.diff_sha256, user)
            token = make_token(self._keys, bound, now_ms, secrets.token_bytes(NONCE_BYTES))
            until = moment(now_ms + TTL_MS, self._zone)
        state = state_words(standing, self._zone)
        diff = self._diff(standing)
        return Shown(diff, standing.verdict, standing.why, state, token, until)

    def document(self, episode: str) -> bytes | None:
        """Return the diff as JSON; None: unknown.

        Raises:
            LakeError: the lake cannot be read.
        """
        standing = self._approvals.standing(episode)
        return None if standing is None else self._diff(standing).document()

    def rule(self, form: Form) -> Answered:
        """Take a ruling, or say why not.

        Raises:
            LakeError: the log cannot be read or written. What was said may stand in it.
        """
        bound = self._bound(form.episode, form.diff_sha256, form.by if form.is_proved else "")
        try:
            token = check_token(self._keys, form.token, bound, self._now_ms())
        except TokenError as error:
            return Answered(403, error.what, "Open the backfill again, and send its form as it is.", "token")
        person = Person(form.by, "proxy" if form.is_proved else "attested", "page")
        statement = Statement(form.episode, form.diff_sha256, form.verdict, form.reason, person, token.sha256)
        result = self._approvals.rule(statement, is_expired=token.is_expired)
        if result.outcome is not RulingOutcome.DONE:
            return self._refusal(result)
        log.info("backfill %s is %s", form.episode, form.verdict.value)
        return Answered(303)

    def _refusal(self, result: RulingResult) -> Answered:
        what, hint = refusal_words(result, self._zone)
        return Answered(_STATUS[result.outcome], what, hint, result.outcome.value)

    def _bound(self, episode: str, diff_sha256: str, user: str) -> Bound:
        return Bound(self._loop, episode, diff_sha256, _VERDICTS, user)

    def _diff(self, standing: EpisodeStatus) -> BackfillDiff:
        with self._lock:
            return diff_of(self._diffs, standing)
