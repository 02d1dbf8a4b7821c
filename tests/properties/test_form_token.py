"""The token of the form on which a person rules: good for one diff and one loop, for a while, and in no other shape."""

import base64
from dataclasses import replace

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.form_token import NONCE_BYTES, TTL_MS, Bound, TokenError, check_token, keys_of, make_token
from retrain.signing import Secret
from schemas.events.backfill import Verdict

NOW_MS = 1_770_000_000_000
BOUND = Bound("flights", f"bf-{7:032x}", "ab" * 32, (Verdict.APPROVED, Verdict.REJECTED))
KEYS = keys_of(None, None, b"k" * 32)
BITS = 72 * 8

texts = st.text(max_size=20)
bounds = st.builds(Bound, texts, texts, texts, st.sampled_from([(Verdict.APPROVED,), BOUND.verdicts]), texts)
nonces = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)


def made(bound: Bound = BOUND, nonce: bytes = b"n" * NONCE_BYTES) -> str:
    """Return a new token."""
    return make_token(KEYS, bound, NOW_MS, nonce)


@given(bound=bounds, nonce=nonces)
@settings(max_examples=examples(200), deadline=None)
def test_a_token_is_good_for_what_it_was_made_for(bound: Bound, nonce: bytes) -> None:
    """Until its time is over, and not one millisecond more; it needs no quoting in a form."""
    token = made(bound, nonce)
    assert token.replace("-", "").replace("_", "").isalnum()
    first, last = check_token(KEYS, token, bound, NOW_MS), check_token(KEYS, token, bound, NOW_MS + TTL_MS - 1)
    assert (first.is_expired, last.is_expired) == (False, False)
    assert check_token(KEYS, token, bound, NOW_MS + TTL_MS).is_expired
    assert first.sha256 == last.sha256
    assert len(first.sha256) == 64


@pytest.mark.parametrize("bit", range(BITS))
def test_any_bit_flipped_is_refused(bit: int) -> None:
    """Of the random bytes, of the time, of the code: none is without meaning."""
    whole = bytearray(base64.urlsafe_b64decode(made()))
    assert len(whole) * 8 == BITS
    whole[bit // 8] ^= 1 << bit % 8
    with pytest.raises(TokenError):
        check_token(KEYS, base64.urlsafe_b64encode(bytes(whole)).decode(), BOUND, NOW_MS)


@given(place=st.integers(0, 95), other=st.characters(codec="utf-8"))
@settings(max_examples=examples(300), deadline=None)
def test_any_character_changed_is_refused(place: int, other: str) -> None:
    """One token has one text: no second way to write the same bytes, and no exception of another kind."""
    token = made()
    changed = token[:place] + other + token[place + 1 :]
    if changed != token:
        with pytest.raises(TokenError):
            check_token(KEYS, changed, BOUND, NOW_MS)


@pytest.mark.parametrize(("ours", "other"), [("-", "+"), ("_", "/")])
def test_the_other_alphabet_of_base64_is_refused(ours: str, other: str) -> None:
    """It would be the same bytes, and a second text of the same token."""
    token = next(one for number in range(256) if ours in (one := made(nonce=bytes([number]) * NONCE_BYTES)))
    with pytest.raises(TokenError):
        check_token(KEYS, token.replace(ours, other), BOUND, NOW_MS)


@given(text=st.text(max_size=200) | st.binary(max_size=120).map(lambda one: base64.urlsafe_b64encode(one).decode()))
@settings(max_examples=examples(300), deadline=None)
def test_whatever_comes_the_answer_is_a_refusal(text: str) -> None:
    """Also text in no encoding, and code of the right length."""
    with pytest.raises(TokenError):
        check_token(KEYS, text, BOUND, NOW_MS)


@given(bound=bounds, other=bounds)
@settings(max_examples=examples(300), deadline=None)
def test_a_token_is_good_for_nothing_else(bound: Bound, other: Bound) -> None:
    """Not even where the parts joined together are the same text."""
    if bound != other:
        with pytest.raises(TokenError):
            check_token(KEYS, made(bound), other, NOW_MS)


@pytest.mark.parametrize(
    "other",
    [
        replace(BOUND, loop="other"),
        replace(BOUND, episode=f"bf-{8:032x}"),
        replace(BOUND, diff_sha256="ab" * 31 + "ac"),
        replace(BOUND, verdicts=(Verdict.APPROVED,)),
        replace(BOUND, user="ann"),
        replace(BOUND, loop="flightsb", episode=BOUND.episode[1:]),
    ],
    ids=["loop", "episode", "diff", "verdicts", "user", "shifted"],
)
def test_another_loop_backfill_diff_verdict_or_user_is_refused(other: Bound) -> None:
    """Each part that it is bound to holds by itself."""
    with pytest.raises(TokenError):
        check_token(KEYS, made(), other, NOW_MS)


def test_verdicts_have_no_order() -> None:
    """What can be ruled is a set."""
    assert not check_token(KEYS, made(), replace(BOUND, verdicts=BOUND.verdicts[::-1]), NOW_MS).is_expired


def test_processes_that_share_a_secret_take_each_others_tokens() -> None:
    """Whichever is configured; the key itself is never used, but one that is made from it."""
    old, new = b"o" * 32, b"n" * 32
    assert keys_of(Secret((old,)), None, b"1" * 32) == keys_of(Secret((old,)), "x" * 16, b"2" * 32)
    assert keys_of(None, "x" * 16, b"1" * 32) == keys_of(None, "x" * 16, b"2" * 32)
    assert keys_of(None, None, b"1" * 32) != keys_of(None, None, b"2" * 32)
    assert keys_of(None, "x" * 16, b"1" * 32) != keys_of(None, "y" * 16, b"1" * 32)
    assert old not in keys_of(Secret((old,)), None, b"1" * 32)
    # while a secret is changed, tokens of both are good
    before, during = keys_of(Secret((old,)), None, b""), keys_of(Secret((new, old)), None, b"")
    token = make_token(before, BOUND, NOW_MS, b"n" * NONCE_BYTES)
    assert not check_token(during, token, BOUND, NOW_MS).is_expired
    with pytest.raises(TokenError):
        check_token(keys_of(Secret((new,)), None, b""), token, BOUND, NOW_MS)


def test_a_nonce_has_256_bits() -> None:
    """Anything else is a mistake of the caller."""
    with pytest.raises(ValueError, match="32 bytes"):
        make_token(KEYS, BOUND, NOW_MS, b"short")


def test_a_refusal_does_not_repeat_the_token() -> None:
    """It ends up in a log."""
    token = made()
    with pytest.raises(TokenError) as refused:
        check_token(KEYS, token, replace(BOUND, loop="other"), NOW_MS)
    assert token not in str(refused.value)
