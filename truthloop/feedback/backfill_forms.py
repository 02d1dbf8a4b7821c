"""Connects the page's backfill forms with `retrain.approval`: shows a backfill with a form token, applies a ruling."""

import logging
import secrets
from collections.abc import Callable
from threading import Lock
from typing import Final

from lake import Lake
from retrain.approval import Person, RulingOutcome, RulingRequest
from retrain.episode_status import EpisodeStatus
from retrain.form_token import NONCE_BYTES, TTL_MS, TokenBinding, TokenError, check_token, make_token, token_keys
from retrain.signing import Secret
from schemas.base.figures import moment, zone_of
from schemas.events.backfill import Verdict
from schemas.events.backfill_diff import BackfillDiff
from truthloop.config.settings import Settings
from truthloop.evidence.approvals import find_diff, open_approvals, state_text
from truthloop.evidence.diff_log import DiffLog
from truthloop.page.web.access import Access
from truthloop.page.web.backfill_pages import BackfillView, RulingAnswer, RulingForm
from truthloop.text.rulings import refusal_text

__all__ = ["BackfillForms"]

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
    RulingOutcome.GONE: 409,
}


class BackfillForms:
    """Implements `truthloop.page.web.backfill_pages.BackfillService` on the lake.

    Args:
        access: of the page; its token signs form tokens where there is no secret.
        secret: of the webhook; signs form tokens, so that all processes accept them.
        now_ms: the wall clock.
        count_refusal: called with the reason of every rejected ruling.
        is_read_only: backfills are shown without a form, and every ruling is rejected.

    Raises:
        LakeError: there is no lake.
    """

    def __init__(
        self,
        settings: Settings,
        access: Access,
        secret: Secret | None,
        now_ms: Callable[[], int],
        count_refusal: Callable[[str], None],
        *,
        is_read_only: bool = False,
    ) -> None:
        self._settings = settings
        self._loop = settings.config.loop
        self._zone = zone_of(settings.config.timezone)
        self._now_ms = now_ms
        self._keys = token_keys(secret, access.token, secrets.token_bytes(32))
        self._approvals = open_approvals(settings, now_ms)
        self._diffs = DiffLog(Lake.open(settings.lake))
        # a lake handle is not thread-safe
        self._lock = Lock()
        self._is_read_only = is_read_only
        self.count_refusal = count_refusal

    def show(self, episode: str, user: str) -> BackfillView | None:
        """Return what the page shows of a backfill; None: unknown.

        Raises:
            LakeError: the lake cannot be read.
        """
        status = self._approvals.status(episode)
        if status is None:
            return None
        now_ms = self._now_ms()
        token = until = ""
        state = state_text(self._settings, status)
        if status.is_waiting and self._is_read_only:
            state += f" This page is read-only: truthloop backfill approve {episode}, or reject, with --reason."
        elif status.is_waiting:
            binding = self._binding(episode, status.diff_sha256, user)
            token = make_token(self._keys, binding, now_ms, secrets.token_bytes(NONCE_BYTES))
            until = moment(now_ms + TTL_MS, self._zone)
        return BackfillView(self._diff(status), status.verdict, status.why, state, token, until)

    def document(self, episode: str) -> bytes | None:
        """Return the diff as JSON; None: unknown.

        Raises:
            LakeError: the lake cannot be read.
        """
        status = self._approvals.status(episode)
        return None if status is None else self._diff(status).document()

    def rule(self, form: RulingForm) -> RulingAnswer:
        """Log a ruling, or return why it is rejected.

        Raises:
            LakeError: the log cannot be read or written; the ruling may be in it nevertheless.
        """
        if self._is_read_only:
            hint = f"truthloop backfill approve {form.episode}, or reject, records a ruling."
            return RulingAnswer(403, "this page is read-only", hint, "read_only")
        binding = self._binding(form.episode, form.diff_sha256, form.by if form.is_proved else "")
        try:
            token = check_token(self._keys, form.token, binding, self._now_ms())
        except TokenError as error:
            return RulingAnswer(403, error.what, "Open the backfill again, and send its form unchanged.", "token")
        person = Person(form.by, "proxy" if form.is_proved else "attested", "page")
        request = RulingRequest(form.episode, form.diff_sha256, form.verdict, form.reason, person, token.sha256)
        result = self._approvals.rule(request, is_expired=token.is_expired)
        if result.outcome is not RulingOutcome.DONE:
            what, hint = refusal_text(result, self._zone)
            return RulingAnswer(_STATUS[result.outcome], what, hint, result.outcome.value)
        log.info("backfill %s is %s", form.episode, form.verdict.value)
        return RulingAnswer(303)

    def _binding(self, episode: str, diff_sha256: str, user: str) -> TokenBinding:
        return TokenBinding(self._loop, episode, diff_sha256, _VERDICTS, user)

    def _diff(self, status: EpisodeStatus) -> BackfillDiff:
        with self._lock:
            return find_diff(self._diffs, status)
