"""Signatures: what is accepted, that nothing else is, and that every failure is a SignatureError."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from standardwebhooks.webhooks import Webhook

from retrain.signing import TOLERANCE_S, Secret, SignatureError, Signed, read_secret, sign, verify
from schemas.errors import ConfigError

NOW_S = 1_700_000_000
BODY = '{"id":"rt-1","text":"ü"}'.encode()


def secret_text(seed: int, size: int = 32) -> str:
    """Return the text form of a secret."""
    return "whsec_" + base64.b64encode(bytes((seed + number) % 256 for number in range(size))).decode()


OLD, NEW = secret_text(1), secret_text(2)
SECRET = Secret.parse(OLD)


def test_the_test_vector_of_the_specification() -> None:
    """The example that every implementation of Standard Webhooks has to reproduce."""
    secret = Secret.parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_is_signed_is_accepted_here_and_by_the_library() -> None:
    """Both ways; the library reads its own clock, so it gets the present time."""
    assert verify(sign(SECRET, "rt-1", NOW_S, BODY), BODY, SECRET, NOW_S) == Signed("rt-1", NOW_S)
    now = datetime.now(UTC)
    now_s = int(now.timestamp())
    Webhook(OLD).verify(BODY, sign(SECRET, "rt-1", now_s, BODY))
    theirs = {
        "Webhook-Id": "cb-1",
        "Webhook-Timestamp": str(now_s),
        "Webhook-Signature": Webhook(OLD).sign("cb-1", now, BODY.decode()),
    }
    assert verify(theirs, BODY, SECRET, now_s) == Signed("cb-1", now_s)


def test_one_changed_bit_anywhere_is_noticed() -> None:
    """In the body, the id, the time or the signature."""
    headers = sign(SECRET, "rt-1", NOW_S, BODY)
    for bit in range(8 * len(BODY)):
        changed = bytearray(BODY)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureError):
            verify(headers, bytes(changed), SECRET, NOW_S)
    for name, value in headers.items():
        for bit in range(7 * len(value)):
            letters = [ord(letter) for letter in value]
            letters[bit // 7] ^= 1 << bit % 7
            with pytest.raises(SignatureError):
                verify({**headers, name: "".join(map(chr, letters))}, BODY, SECRET, NOW_S)


@pytest.mark.parametrize(("age_s", "fresh"), [(0, True), (1, True), (TOLERANCE_S, True), (TOLERANCE_S + 1, False)])
def test_a_message_is_valid_for_five_minutes(age_s: int, fresh: bool) -> None:
    """A replayed one is too old; one from the future is refused, too."""
    headers = sign(SECRET, "rt-1", NOW_S, BODY)
    for now_s in (NOW_S + age_s, NOW_S - age_s):
        if fresh:
            assert verify(headers, BODY, SECRET, now_s).id == "rt-1"
        else:
            with pytest.raises(SignatureError):
                verify(headers, BODY, SECRET, now_s)


def test_two_keys_sign_twice_and_either_side_may_change_first() -> None:
    """No message is lost during a rotation; afterwards the old key is refused."""
    both = Secret.parse(f"{NEW}\n{OLD}\n")
    headers = sign(both, "rt-1", NOW_S, BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for receiver in (OLD, NEW):
        assert verify(headers, BODY, Secret.parse(receiver), NOW_S).id == "rt-1"
    for sender in (OLD, NEW):
        assert verify(sign(Secret.parse(sender), "rt-1", NOW_S, BODY), BODY, both, NOW_S).id == "rt-1"
    with pytest.raises(SignatureError):
        verify(sign(SECRET, "rt-1", NOW_S, BODY), BODY, Secret.parse(NEW), NOW_S)


GOOD = sign(SECRET, "rt-1", NOW_S, BODY)
SIGNATURE = GOOD["webhook-signature"]
BAD_HEADERS: list[dict[str, str]] = [
    *({key: value for key, value in GOOD.items() if key != left_out} for left_out in GOOD),
    *({**GOOD, key: ""} for key in GOOD),
    *({**GOOD, key: "\udcff\udc80"} for key in GOOD),
    *({**GOOD, key: "\N{SNOWMAN}"} for key in GOOD),
    *({**GOOD, "webhook-id": value} for value in ("rt.1", "rt-1 ", "a" * 300, "rt-1\r\nx: y")),
    *(
        {**GOOD, "webhook-timestamp": value}
        for value in ("nan", "inf", "1e9", "-1", f"{NOW_S}.0", f" {NOW_S}", f"{NOW_S}\n", "9" * 400, "9" * 11, "0")
    ),
    *(
        {**GOOD, "webhook-timestamp": value}
        for value in ("\N{ARABIC-INDIC DIGIT ONE}700000000", f"+{NOW_S}", f"{NOW_S:_}", f"0{NOW_S}")
    ),
    *(
        {**GOOD, "webhook-signature": value}
        for value in ("v1", "v1,", ",", "v1,*", "v1,abc", "v1,=", "v1,ü", "v1,\udcff", " ")
    ),
    *(
        {**GOOD, "webhook-signature": SIGNATURE.replace("v1,", version)}
        for version in ("v2,", "v1a,", "V1,", "", "v1,,")
    ),
    {**GOOD, "webhook-signature": " ".join(["v1,AAAA"] * 20 + [SIGNATURE])},
    {**GOOD, "webhook-signature": SIGNATURE + "\n"},
    {**GOOD, "Webhook-Id": "rt-2"},
]


@pytest.mark.parametrize("headers", BAD_HEADERS, ids=range(len(BAD_HEADERS)))
def test_malformed_headers_are_one_error_and_never_another(headers: dict[str, str]) -> None:
    """The library itself raises ValueError for several of these, which would be a 500."""
    with pytest.raises(SignatureError):
        verify(headers, BODY, SECRET, NOW_S)


def test_a_signature_of_another_version_is_ignored() -> None:
    """Senders add versions before receivers know them."""
    headers = {**GOOD, "webhook-signature": f"v1a,anything {SIGNATURE} v9,?"}
    assert verify(headers, BODY, SECRET, NOW_S).id == "rt-1"


def test_a_repeated_header_is_refused() -> None:
    """Proxies and libraries differ in which one they use."""
    twice = CIMultiDict([*GOOD.items(), ("Webhook-Id", "rt-1")])
    assert verify(CIMultiDict(GOOD), BODY, SECRET, NOW_S).id == "rt-1"
    with pytest.raises(SignatureError):
        verify(twice, BODY, SECRET, NOW_S)


def test_a_body_that_is_not_utf8_is_refused() -> None:
    """It cannot have been signed."""
    with pytest.raises(SignatureError):
        verify(GOOD, b"\xff\xfe", SECRET, NOW_S)


@settings(max_examples=examples(2_000), deadline=None)
@given(
    st.fixed_dictionaries({name: st.text(max_size=80) for name in GOOD}),
    st.binary(max_size=50),
    st.sampled_from([NOW_S, 0]),
)
def test_whatever_comes_only_one_error_is_raised(headers: dict[str, str], body: bytes, now_s: int) -> None:
    """Also with a valid timestamp, so that the signature is parsed."""
    for tried in (
        headers,
        {**headers, "webhook-timestamp": str(NOW_S)},
        {**GOOD, "webhook-signature": "v1," + headers["webhook-id"]},
    ):
        with pytest.raises(SignatureError):
            verify(tried, body, SECRET, now_s)


@pytest.mark.parametrize("id_", ["", "a.b", "ü", "a b", "a\n", "a" * 257])
def test_an_invalid_id_is_not_signed(id_: str) -> None:
    """It would become a header."""
    with pytest.raises(ValueError, match="an id is"):
        sign(SECRET, id_, NOW_S, BODY)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "secret", "whsec_", "whsec_*", OLD.removeprefix("whsec_"), OLD.replace("whsec_", "WHSEC_")),
        *(
            secret_text(1, 23),
            secret_text(1, 65),
            f"{OLD} {NEW} {OLD}",
            f"{OLD},{NEW}",
            f"{OLD} x",
            "whsec_" + "ü" * 40,
        ),
    ],
)
def test_an_invalid_secret_is_refused_without_being_repeated(text: str) -> None:
    """Too short, too long for the specification, or in another form."""
    with pytest.raises(ConfigError) as raised:
        Secret.parse(text, "environment variable S")
    assert "environment variable S" in str(raised.value)
    for word in text.split():
        if len(word) > len("whsec_"):
            assert word not in str(raised.value)


@pytest.mark.parametrize("size", [24, 25, 64])
def test_secrets_of_24_to_64_bytes_are_taken_with_or_without_padding(size: int) -> None:
    """Some tools omit the padding, and the library accepts both."""
    text = secret_text(3, size)
    assert Secret.parse(text) == Secret.parse(text.rstrip("="))
    assert len(Secret.parse(text).keys[0]) == size


def test_a_secret_comes_from_its_variable_or_from_the_file_that_another_names(tmp_path: Path) -> None:
    """The file has precedence; the error names the variable."""
    file = tmp_path / "secret"
    file.write_text(f"{NEW}\n{OLD}\n")
    assert read_secret("S", {"S": OLD}) == SECRET
    assert read_secret("S", {"S": OLD, "S_FILE": str(file)}) == Secret.parse(f"{NEW} {OLD}")
    for environ in ({}, {"S": ""}, {"S_FILE": str(tmp_path / "none")}, {"S_FILE": str(tmp_path)}):
        with pytest.raises(ConfigError, match="environment variable S"):
            read_secret("S", environ)
    file.write_bytes(b"\xff" * 40)
    with pytest.raises(ConfigError, match="ASCII"):
        read_secret("S", {"S_FILE": str(file)})


def test_a_secret_is_not_in_its_repr() -> None:
    """Reprs end up in logs and tracebacks."""
    shown = f"{SECRET!r} {SECRET} {[SECRET]}"
    assert OLD.removeprefix("whsec_")[:8] not in shown
    assert repr(SECRET.keys[0])[2:10] not in shown
