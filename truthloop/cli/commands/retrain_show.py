"""`truthloop retrain show`: the manifest of one retrain, found by its id or by the version it produced."""

from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.base.figures import instant, plain_text, zone_of
from truthloop.terminal.console import print_json, reporting_errors, results, warn

if TYPE_CHECKING:
    from schemas.events.evidence import Decision

__all__ = ["show"]

CONFIG = Path("truthloop.yaml")
_INSTANTS = frozenset({"at", "evidence_at", "as_of_ms", "split_ms"})


def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="The retrain (rt-...), or the version that it produced.")],
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the manifest of a retrain. It has the reason, the approvals, and the data set of the model.

    Reads every file of the data set and compares its digest. Exit code 1: a file has changed or is missing.
    """
    with reporting_errors():
        from lake import Lake  # noqa: PLC0415 - keeps --help fast
        from retrain.decision_log import DecisionLog  # noqa: PLC0415 - the same
        from retrain.run_manifest import find_retrain, run_manifest  # noqa: PLC0415 - the same
        from schemas.errors import ConfigError  # noqa: PLC0415 - the same
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.feedback.delivery_log import LakeDeliveryLog  # noqa: PLC0415 - the same

        settings = load_settings(config)
        lake = Lake.open(settings.lake)
        logs = {kind: DecisionLog(lake, kind).entries() for kind in settings.config.labels}
        found = [(kind, id_) for kind, entries in logs.items() if (id_ := find_retrain(entries, name)) is not None]
        if not found:
            raise ConfigError(
                "no retrain has this id or produced this version",
                where=name,
                hint="`truthloop retrain list` lists them.",
            )
        kind, decision = found[-1]
        dataset, fault = _dataset(logs[kind], decision)
        document = run_manifest(logs[kind], decision, LakeDeliveryLog(lake, now_ms).attempts([decision]), dataset)
        if as_json:
            print_json(document)
        else:
            for line in _lines(document, zone_of(settings.config.timezone)):
                results.print(line, markup=False)
        if fault:
            warn(plain_text(fault))
            raise typer.Exit(1)


def _dataset(entries: "list[Decision]", decision: str) -> tuple[dict[str, Any] | None, str]:
    """Return the manifest of the data set, and what is wrong with it: '' if nothing is."""
    from lake.dataset import read_dataset  # noqa: PLC0415 - keeps --help fast
    from retrain.retrains import retrains_of  # noqa: PLC0415 - the same
    from schemas.base.location import location_of_uri  # noqa: PLC0415 - the same
    from schemas.errors import LakeError  # noqa: PLC0415 - the same
    from schemas.events.evidence import Event  # noqa: PLC0415 - the same

    retrain = next(retrain for retrain in retrains_of(entries) if retrain.id == decision)
    if retrain.dataset is None:
        return None, ""
    signed = next(
        e.detail.get("manifest_sha256") for e in entries if e.decision == decision and e.event is Event.PREPARED
    )
    try:
        found = read_dataset(location_of_uri(retrain.dataset))
    except LakeError as error:
        return None, f"the data set: {error}"
    fault = "" if found.manifest_sha256 == signed else "the data set's manifest is not the signed one"
    return dict(found.manifest), fault


def _lines(value: object, zone: tzinfo, depth: int = 0) -> list[str]:
    """Return a document as indented lines; empty parts are left out."""
    pad = "  " * depth
    found: list[str] = []
    for name, item in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        if item is None or item in ([], {}, ""):
            continue
        label = "-" if isinstance(value, list) else f"{plain_text(str(name))}:"
        if not isinstance(item, dict | list):
            found.append(f"{pad}{label} {_text(str(name), item, zone)}")
        elif isinstance(value, list):
            first, *rest = _lines(item, zone, depth + 1)
            found += [f"{pad}- {first.lstrip()}", *rest]
        else:
            found += [f"{pad}{label}", *_lines(item, zone, depth + 1)]
    return found


def _text(name: str, value: object, zone: tzinfo) -> str:
    from schemas.base.duration import format_duration  # noqa: PLC0415 - needed here only

    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int):
        return plain_text(str(value))
    if name in _INSTANTS:
        return instant(value, zone)
    return format_duration(value) if name.endswith("_ms") else f"{value:,}"
