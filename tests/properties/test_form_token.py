"""The token of the form on which a person rules: valid for one diff and one loop, for a while, in one spelling."""

import base64
import re
from dataclasses import replace

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.form_token import NONCE_BYTES, TTL_MS, TokenBinding, TokenError, check_token, make_token, token_keys
from retrain.signing import Secret
from schemas.events.backfill import Verdict

NOW_MS = 1_770_000_000_000
BOUND = TokenBinding("flights", f"bf-{7:032x}", "ab" * 32, (Verdict.APPROVED, Verdict.REJECTED))
KEYS = token_keys(None, None, b"k" * 32)
LENGTH = 43 + 1 + 13 + 1 + 43

texts = st.text(max_size=20)
bounds = st.builds(TokenBinding, texts, texts, texts, st.sampled_from([(Verdict.APPROVED,), BOUND.verdicts]), texts)
nonces = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)


def made(bound: TokenBinding = BOUND, nonce: bytes = b"n" * NONCE_BYTES) -> str:
    """Return a new token."""
    return make_token(KEYS, bound, NOW_MS, nonce)


@given(bound=bounds, nonce=nonces)
@settings(max_examples=examples(200), deadline=None)
def test_a_token_is_valid_for_its_binding(bound: TokenBinding, nonce: bytes) -> None:
    """Until it expires, to the millisecond; it needs no quoting in a form."""
    token = made(bound, nonce)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}\.[0-9]{13}\.[A-Za-z0-9_-]{43}", token)
    first, last = check_token(KEYS, token, bound, NOW_MS), check_token(KEYS, token, bound, NOW_MS + TTL_MS - 1)
    assert (first.is_expired, last.is_expired) == (False, False)
    assert check_token(KEYS, token, bound, NOW_MS + TTL_MS).is_expired
    assert first.sha256 == last.sha256
    assert len(first.sha256) == 64


@given(nonce=nonces, other=nonces)
@settings(max_examples=examples(50), deadline=None)
def test_tokens_of_different_nonces_have_different_digests(nonce: bytes, other: bytes) -> None:
    """The log knows a used token by its digest."""
    digests = {check_token(KEYS, made(nonce=one), BOUND, NOW_MS).sha256 for one in (nonce, other)}
    assert len(digests) == len({nonce, other})


@pytest.mark.parametrize("bit", range(LENGTH * 8))
def test_any_bit_flipped_is_refused(bit: int) -> None:
    """Of the nonce, the expiry and the signature, those bits of base64 included that no byte uses."""
    text = bytearray(made().encode())
    text[bit // 8] ^= 1 << bit % 8
    with pytest.raises(TokenError):
        check_token(KEYS, text.decode("latin-1"), BOUND, NOW_MS)


@given(index=st.integers(0, LENGTH - 1), other=st.characters(codec="utf-8"), inserts=st.booleans())
@settings(max_examples=examples(300), deadline=None)
def test_any_character_changed_or_inserted_is_refused(index: int, other: str, *, inserts: bool) -> None:
    """One token has one text: no second way to write the same bytes, and no exception of another kind."""
    token = made()
    changed = token[:index] + other + token[index if inserts else index + 1 :]
    if changed != token:
        with pytest.raises(TokenError):
            check_token(KEYS, changed, BOUND, NOW_MS)


@pytest.mark.parametrize("end", ["=", "A", "\n", "."])
def test_nothing_can_be_appended_to_a_token(end: str) -> None:
    """Decoders of base64 skip padding and unknown characters."""
    with pytest.raises(TokenError):
        check_token(KEYS, made() + end, BOUND, NOW_MS)


@pytest.mark.parametrize(("ours", "other"), [("-", "+"), ("_", "/")])
def test_the_other_alphabet_of_base64_is_refused(ours: str, other: str) -> None:
    """It would be the same bytes, and a second text of the same token."""
    made_with = (made(nonce=bytes([number]) * NONCE_BYTES) for number in range(256))
    token = next(one for one in made_with if ours in one.rpartition(".")[2])
    head, _, signature = token.rpartition(".")
    with pytest.raises(TokenError):
        check_token(KEYS, f"{head}.{signature.replace(ours, other)}", BOUND, NOW_MS)


@given(text=st.text(max_size=200) | st.binary(max_size=120).map(lambda one: base64.urlsafe_b64encode(one).decode()))
@settings(max_examples=examples(300), deadline=None)
def test_any_other_text_is_refused(text: str) -> None:
    """Also text with lone surrogates, and base64 of any length."""
    with pytest.raises(TokenError):
        check_token(KEYS, text, BOUND, NOW_MS)


@given(bound=bounds, other=bounds)
@settings(max_examples=examples(300), deadline=None)
def test_a_token_is_not_valid_for_another_binding(bound: TokenBinding, other: TokenBinding) -> None:
    """Not even if the concatenated parts are the same text."""
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
def test_another_loop_backfill_diff_verdict_or_user_is_refused(other: TokenBinding) -> None:
    """Each part of the binding matters by itself."""
    with pytest.raises(TokenError):
        check_token(KEYS, made(), other, NOW_MS)


def test_verdicts_have_no_order() -> None:
    """They are a set."""
    assert not check_token(KEYS, made(), replace(BOUND, verdicts=BOUND.verdicts[::-1]), NOW_MS).is_expired


def test_processes_that_share_a_secret_accept_each_others_tokens() -> None:
    """Whichever is configured; the secret itself is not used as a key, but one derived from it."""
    old, new = b"o" * 32, b"n" * 32
    assert token_keys(Secret((old,)), None, b"1" * 32) == token_keys(Secret((old,)), "x" * 16, b"2" * 32)
    assert token_keys(None, "x" * 16, b"1" * 32) == token_keys(None, "x" * 16, b"2" * 32)
    assert token_keys(None, None, b"1" * 32) != token_keys(None, None, b"2" * 32)
    assert token_keys(None, "x" * 16, b"1" * 32) != token_keys(None, "y" * 16, b"1" * 32)
    assert old not in token_keys(Secret((old,)), None, b"1" * 32)
    # while a secret is changed, tokens of both are good
    before, during = token_keys(Secret((old,)), None, b""), token_keys(Secret((new, old)), None, b"")
    token = make_token(before, BOUND, NOW_MS, b"n" * NONCE_BYTES)
    assert not check_token(during, token, BOUND, NOW_MS).is_expired
    with pytest.raises(TokenError):
        check_token(token_keys(Secret((new,)), None, b""), token, BOUND, NOW_MS)


def test_a_nonce_has_256_bits() -> None:
    """Another length is an error of the caller."""
    with pytest.raises(ValueError, match="32 bytes"):
        make_token(KEYS, BOUND, NOW_MS, b"short")


def test_a_refusal_does_not_repeat_the_token() -> None:
    """Its message is logged."""
    token = made()
    with pytest.raises(TokenError) as refused:
        check_token(KEYS, token, replace(BOUND, loop="other"), NOW_MS)
    assert token not in str(refused.value)
