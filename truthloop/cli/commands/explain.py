"""`truthloop explain KEY`: the history of one key as sentences, in order of time."""

from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.base.figures import instant, plain_text, zone_of
from schemas.errors import TruthloopError
from truthloop.terminal.console import print_json, reporting_errors, results

if TYPE_CHECKING:
    from lake.key_history import CurrentOutcome, KeyHistory, LabelFate

__all__ = ["explain"]

_WHY = {
    "duplicate": "the same record came before",
    "conflict": "a record with the same key and id but other content came before, and the first one counts",
    "stale": "a label with a later time came before, so this one is not of record",
    "future": "its time is more than an hour ahead of the clock",
    "too_old": "it was made before the oldest time that is still kept",
    "too_late": "it came after the age until which its prediction can be corrected (retain)",
    "unknown_prediction": "no prediction came for it within the time that it can wait (retain)",
    "withdrawn": "it belongs to a backfill that was rejected, and is as if it had never come",
    "not_withdrawn": "it belongs to a rejected backfill, but had left the join's state (retain, or the limit of 16), "
    "so what it made stays",
    "waiting_limit": "it was dropped because too many labels were waiting for their predictions",
}
_RANKS = {"prediction": 0, "label": 1, "revision": 2}


def explain(
    key: Annotated[str, typer.Argument(help="The key that predictions and labels are joined on.")],
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show everything that is known about one key. It includes what the key still waits for."""
    with reporting_errors():
        from lake.key_history import near_keys, read_key_history  # noqa: PLC0415 - keeps --help fast
        from lake.session import connect  # noqa: PLC0415 - keeps --help fast
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - keeps --help fast

        settings = load_settings(config)
        zone = zone_of(settings.config.timezone)
        with connect(settings.lake) as connection:
            history = read_key_history(connection, key)
            if history is None:
                near = near_keys(connection, key)
                raise TruthloopError(
                    f"neither a prediction nor a label has the key {key!r}",
                    hint=f"Similar keys: {plain_text(', '.join(near))}" if near else "There is no similar key.",
                )
        document = describe(history, zone)
        if as_json:
            print_json(document)
            return
        for event in document["events"]:
            at = _in_zone(datetime.fromisoformat(event["at"]), zone)
            results.print(plain_text(f"{at}  {event['text']}"), markup=False)
        results.print()
        for outcome in document["outcomes"]:
            results.print(plain_text(outcome["text"]), markup=False)


def describe(history: "KeyHistory", zone: tzinfo) -> dict[str, Any]:
    """Return the key's history as one JSON document; events and outcomes have their sentence as `text`.

    Args:
        zone: of the times in sentences; all others are in UTC.
    """
    events: list[tuple[datetime, int, int, dict[str, Any]]] = []

    def add(at: datetime, what: str, order: int, text: str, facts: dict[str, Any]) -> None:
        event = {"at": _time(at), "what": what, "text": text, **{k: _plain(v) for k, v in facts.items()}}
        events.append((at, _RANKS[what], order, event))

    for row in history.predictions:
        add(row["predicted_at"], "prediction", row["offset"], _prediction_text(row), row)
    for fate in history.labels:
        facts = {
            "rejected": fate.rejected,
            "record_of": list(fate.record_of),
            "once_of": list(fate.once_of),
            "waits_until": fate.waits_until,
        }
        add(fate.row["known_at"], "label", fate.row["offset"], _label_text(fate, zone), fate.row | facts)
    for row in history.revisions:
        add(row["known_at"], "revision", row["revision"], _revision_text(row), row)
    events.sort(key=lambda event: event[:3])
    return {
        "key": history.key,
        "events": [event for *_, event in events],
        "outcomes": [_outcome(outcome, zone) for outcome in history.outcomes],
    }


def _prediction_text(row: dict[str, Any]) -> str:
    outputs = ", ".join(
        f"{name.removeprefix('output_')} {_value(value)}"
        for name, value in row.items()
        if name.startswith("output_") and value is not None
    )
    text = f"prediction {row['id']} by version {row['version']}: {outputs or 'no output'}"
    if not row["eligible"]:
        text += "; not eligible, so excluded from coverage and metrics"
    if row["rejected"] is not None:
        text += f"; does not count ({row['rejected']}): {_why(row['rejected'])}"
    return text


def _label_text(fate: "LabelFate", zone: tzinfo) -> str:
    row = fate.row
    value = {"retract": "retraction", "delete": "deletion"}.get(row["op"]) or _value(_either(row))
    text = f"label {row['kind']} = {value} ({row['definition']}), of {_in_zone(row['label_time'], zone)}"
    if fate.record_of:
        text += f"; of record for {', '.join(fate.record_of)}"
    elif fate.rejected is not None:
        text += f"; {fate.rejected}: {_why(fate.rejected)}"
    elif fate.once_of:
        text += "; was of record until a newer label came"
    elif fate.waits_until is not None:
        text += f"; waits for a prediction until {_in_zone(fate.waits_until, zone)}"
    else:
        text += "; a newer label came before it could join"
    return text


def _revision_text(row: dict[str, Any]) -> str:
    age_ms = round((row["known_at"] - row["predicted_at"]).total_seconds() * 1000)
    text = f"{row['kind']} of {row['id']} became {row['status']} ({row['reason']})"
    if (value := _either(row)) is not None:
        text += f": {_value(value)}"
    if row["previous_status"] != "pending":
        before = row["previous"] if row["previous_class"] is None else row["previous_class"]
        text += f"; before it was {row['previous_status']}" + ("" if before is None else f" {_value(before)}")
    side = "before" if age_ms < 0 else "after"
    from schemas.base.duration import format_duration  # noqa: PLC0415 - keeps --help fast

    return f"{text}; {format_duration(abs(age_ms))} {side} the prediction, by {row['definition']}"


def _outcome(outcome: "CurrentOutcome", zone: tzinfo) -> dict[str, Any]:
    row, label = outcome.row, outcome.label
    value = _either(row)
    text = f"{row['kind']} of {row['id']} is {row['status']}"
    if value is not None:
        text += f": {_value(value)}"
    if row["status"] == "pending":
        text += f"; waits for a label until {_in_zone(outcome.deadline, zone)}"
        if outcome.is_overdue:
            text += ", which has passed: overdue until the watermark of the labels has passed it, too"
    elif label is not None:
        text += f"; by the label of {_in_zone(label['label_time'], zone)}, known {_in_zone(label['known_at'], zone)}"
    record = None
    if label is not None:
        record = {name: _plain(label[name]) for name in ("partition", "offset", "label_time", "known_at", "source")}
    return {
        **{name: _plain(row[name]) for name in ("id", "kind", "definition", "status", "reason")},
        "value": value,
        "known_at": _plain(row["known_at"]),
        "deadline": _time(outcome.deadline),
        "overdue": outcome.is_overdue,
        "label_of_record": record,
        "text": text,
    }


def _why(reason: str) -> str:
    return _WHY.get(reason, "see the view rejects")


def _either(row: dict[str, Any]) -> float | str | None:
    value: float | str | None = row["value"] if row["value_class"] is None else row["value_class"]
    return value


def _value(value: float | str | None) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _in_zone(at: datetime, zone: tzinfo) -> str:
    return instant(round(at.timestamp() * 1000), zone)


def _time(at: datetime) -> str:
    """Return an instant in UTC, for the JSON document."""
    digits = "milliseconds" if at.microsecond else "seconds"
    return at.replace(tzinfo=None).isoformat(sep=" ", timespec=digits) + "Z"


def _plain(value: object) -> object:
    """Return a value of a column as a JSON value."""
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, float) and value - value != 0:  # NaN and the infinities
        return None
    if hasattr(value, "isoformat"):
        return str(value)
    return value
