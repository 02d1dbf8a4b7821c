"""`truthloop new`: writes a commented config to start from, or drafts one from records of topics.

A draft contains no values of records, except the names of a field's few categories.
"""

import json
import re
import shlex
from pathlib import Path
from string import Template
from typing import Annotated, Literal

import typer

from schemas.errors import ConfigError
from truthloop.terminal.console import note, print_json, reporting_errors

__all__ = ["new", "starting_config"]

Task = Literal["binary", "multiclass", "regression"]

_TEXT = Template("""\
# The feedback loop of one deployed model. `truthloop check` explains this file and finds errors in it.
# Durations: 90s, 15m, 36h, 7d. Times are stored in UTC.
version: 1
loop: $loop

# The time zone of days: the predictions of one day form a cohort.
timezone: UTC

# When is a label known? event: at its own time (files from the past); arrival: when it arrives here.
clock: event

# Where results are kept: a folder, relative to this file.
lake: {uri: ./lake}

# What a prediction contains: the model's output for each label kind, and the slices to evaluate separately.
predictions:
  outputs:
$output
  slices: []                   # for instance [country]; map it below as slices.country
  features: {}                 # for instance {amount: {type: float, min: 0, unit: EUR}}

# When labels are expected, for each kind.
labels:
  $kind:
    definition: $definition # names what the value means; give it a new name when the meaning changes
    expected_delay: 1d         # most labels have arrived by then
    horizon: 7d                # a prediction without a label is final at this age
    retain: 14d                # until this age a label later than the horizon still joins or corrects
    early: 1h                  # a label waits this long for its prediction before it is reported as unmatched
    on_timeout: expire         # at the horizon: expire, or give it a value, as in {imply: $imply}

# Your files, and what their fields mean. Parquet, CSV and JSON lines are read.
ingest:
  - files: "predictions*"      # predictions.parquet, predictions-2024-05.csv, ...
    as: predictions
    map:
      key: id                  # what predictions and labels are joined on
      time: predicted_at       # a number: {path: ts, unit: ms}; text without a zone: {path: ts, zone: UTC}
      version: model_version   # or {constant: v1} if the files have no such field
      $target: $origin
  - files: "labels*"
    as: labels
    kind: $kind_value
    map:
      key: id
      value: label             $value_note
      time: label_time         # when the label became known

# Which predictions form a cohort, and the ages at which its coverage is measured.
cohorts:
  by: [version]                # version, and slices
  ages: [6h, 1d, 3d, 7d]

# Coverage goals: the share of labels expected by an age; `truthloop coverage` lists the days that missed it.
coverage:
  - {label: $kind_value, age: 3d, min: 0.5}
$metrics""")

_METRICS = """
# The metrics to show. Leave a kind out to have them chosen by how rare its positives are.
metrics:
  $kind: [accuracy, roc_auc, log_loss, precision, recall]
"""

_TASKS: dict[Task, dict[str, str]] = {
    "binary": {
        "output": "    $kind: {task: binary, threshold: 0.5}   # a probability; positive from 0.5 on",
        "imply": "0",
        "origin": "score            # from 0 to 1; percentages: {path: score, scale: 0.01}",
        "value_note": '# 0 or 1; texts: {path: label, values: {"yes": 1, "no": 0}}',
        "metrics": _METRICS,
    },
    "multiclass": {
        "output": "    $kind: {task: multiclass}   # the predicted class",
        "imply": "none",
        "origin": "predicted_class",
        "value_note": "# the true class",
        "metrics": "",
    },
    "regression": {
        "output": "    $kind: {task: regression}   # a number",
        "imply": "0",
        "origin": "predicted_value",
        "value_note": "# the true number",
        "metrics": "",
    },
}


def new(  # noqa: PLR0913 - Typer takes every option for a parameter
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("truthloop.yaml"),
    *,
    loop: Annotated[str, typer.Option(help="Name of the loop: letters, digits, ., _ and -.")] = "",
    kind: Annotated[str, typer.Option(help="Name of the label kind: letters, digits and _.")] = "",
    task: Annotated[Task | None, typer.Option(help="What the model predicts.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if there is one.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    from_topic: Annotated[
        list[str] | None,
        typer.Option(metavar="TOPIC", help="Draft the config from records of this topic; may be repeated."),
    ] = None,
    bootstrap_servers: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            envvar="TRUTHLOOP_KAFKA__BOOTSTRAP_SERVERS",
            help="The topics' cluster.",
            show_envvar=False,
        ),
    ] = "",
    client_property: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A property of librdkafka, as security.protocol=SSL; may be repeated."),
    ] = None,
    schema_registry: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="TRUTHLOOP_SCHEMA_REGISTRY__URL",
            help="Schema Registry with the schemas of Avro and Protobuf.",
            show_envvar=False,
        ),
    ] = "",
    registry_property: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Of the section schema_registry, as user=NAME; may be repeated."),
    ] = None,
    as_: Annotated[
        list[str] | None,
        typer.Option("--as", metavar="TOPIC=ROLE", help="What a topic holds: predictions or labels; default: guessed."),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, max=100_000, help="Records to sample of each topic.")] = 10_000,
) -> None:
    """Write a commented config to start from.

    --from-topic samples topics (without joining a consumer group) and drafts the config from their records: key, times,
    outputs, label values, slices. What a person has to decide is marked DECIDE.
    """
    with reporting_errors():
        if not from_topic:
            _refuse_alone({"--client-property": client_property, "--registry-property": registry_property, "--as": as_})
            _write(path, starting_config(loop or "my-model", kind or "purchase", task or "binary"), force=force)
            if as_json:
                print_json({"path": str(path)})
            else:
                _note_next(path, "Written. Adapt it to your files, then check it:", "check")
            return
        from truthloop.cli.new_from_topic import (  # noqa: PLC0415 - keeps --help fast
            SampleOrigin,
            draft_document,
            draft_from_topics,
            print_draft,
        )
        from truthloop.onboarding.draft.builder import DraftOptions  # noqa: PLC0415 - the same

        _check_names(loop or "a", kind or "a")
        _check_free(path, force=force)
        origin = SampleOrigin(bootstrap_servers, client_property or (), schema_registry, registry_property or ())
        options = DraftOptions(loop, kind, task)
        draft = draft_from_topics(list(dict.fromkeys(from_topic)), origin, list(as_ or ()), options, sample)
        _write(path, draft.text, force=force)
        if as_json:
            print_json({"path": str(path), **draft_document(draft)})
            return
        print_draft(draft)
        _note_next(path, "Written. Decide what is marked DECIDE, then try it on the records:", "check --live")


def _note_next(path: Path, what: str, command: str) -> None:
    note(what)
    option = "" if path == Path("truthloop.yaml") else f" --config {shlex.quote(str(path))}"
    typer.echo(f"truthloop {command}{option}", err=True)


def _refuse_alone(options: dict[str, object]) -> None:
    for name, value in options.items():
        if value:
            raise ConfigError(f"{name} needs --from-topic")


def starting_config(loop: str, kind: str, task: Task) -> str:
    """Return the text of a valid config with one label kind.

    Raises:
        ConfigError: `loop` or `kind` is not a valid name.
    """
    _check_names(loop, kind)
    parts = {name: Template(text).safe_substitute(kind=kind) for name, text in _TASKS[task].items()}
    return _TEXT.substitute(
        parts,
        loop=_quoted(loop),
        kind=kind,
        kind_value=_quoted(kind),
        target=f"outputs.{kind}",
        definition=f"{kind}-v1".ljust(14),
    )


def _check_names(loop: str, kind: str) -> None:
    from schemas.config.loop import LOOP_PATTERN  # noqa: PLC0415 - keeps --help fast
    from schemas.config.prediction import NAME_PATTERN  # noqa: PLC0415 - the same

    if not re.fullmatch(LOOP_PATTERN, loop) or loop.endswith("\n"):
        raise ConfigError(
            f"--loop {loop!r}: a name is at most 63 letters, digits, '.', '_' and '-', the first one a letter or digit"
        )
    if not re.fullmatch(NAME_PATTERN, kind) or kind.endswith("\n"):
        raise ConfigError(f"--kind {kind!r}: a name is letters, digits and _, and does not start with a digit")


def _quoted(name: str) -> str:
    """Return a name as a YAML value: in quotes if it would be read as a number, null or a bool."""
    from truthloop.config.yaml_source import is_plain_text  # noqa: PLC0415 - keeps --help fast

    return name if is_plain_text(name) else json.dumps(name)


def _check_free(path: Path, *, force: bool) -> None:
    """Refuse an existing file before anything is sampled for it."""
    if path.exists() and not (force and path.is_file()):
        _write(path, "", force=False)


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write the file; only `force` overwrites another.

    Raises:
        ConfigError: the file exists, or is not writable.
    """
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        if path.is_dir():
            hint = f"truthloop new {shlex.quote(str(path / 'truthloop.yaml'))}"
            raise ConfigError("this is a folder", where=str(path), hint=hint) from None
        hint = "--force overwrites it"
        raise ConfigError("the file exists and was not changed", where=str(path), hint=hint) from None
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ConfigError(f"the file cannot be written: {reason}", where=str(path)) from None
