"""Places in a bucket: how they are written, joined and refused."""

from pathlib import Path

import pytest

from schemas.base.location import BucketUri, location_of_uri


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("s3://truth", "truth", ""),
        ("s3://truth/", "truth", ""),
        ("s3://truth/loops/fraud/", "truth", "loops/fraud"),
        ("s3://t.r-1/day=1/a_b", "t.r-1", "day=1/a_b"),
    ],
)
def test_a_uri_is_a_bucket_and_a_key(text: str, bucket: str, key: str) -> None:
    """A slash at the end says nothing; the URI of a place is the place."""
    found = BucketUri.parse(text)
    assert found == BucketUri(bucket, key)
    assert location_of_uri(found.as_uri()) == found == found.absolute()
    assert (found / "x").name == "x"
    assert str(found / "x") == f"{text.rstrip('/')}/x"


@pytest.mark.parametrize(
    "text",
    [
        "s3://",
        "s3:///x",
        "s3://Up/x",
        "s3://a/x",
        "s3://truth//x",
        "s3://truth/a b",
        "s3://truth/a%20b",
        "s3://truth/\u00e9",
    ],
)
def test_what_a_library_would_read_otherwise_is_refused(text: str) -> None:
    """Delta, Polars, DuckDB and the client escape differently."""
    with pytest.raises(ValueError, match="s3://"):
        BucketUri.parse(text)


def test_a_local_uri_is_a_path() -> None:
    """As a path writes it."""
    assert location_of_uri(Path("/a b/\u00e9").as_uri()) == Path("/a b/\u00e9")
