"""What the join's benchmark found, as Markdown for people and as JSON for programs.

Every ratio is made of two measurements of the same round, which were taken minutes apart at most; then comes the median
over the rounds. Must not measure.
"""

import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from join_engine import Engine
from join_latency import Latency
from join_measure import Throughput

__all__ = ["Findings", "Round", "machine", "markdown", "plain"]

Round = list[Throughput]
"""One measurement of each engine and mix."""

PEERS = ("passthrough", "streams", "json-streams", "quix")
SUBJECT = "truthloop"


@dataclass(frozen=True)
class Findings:
    """Everything that a run of the benchmark found."""

    rounds: Sequence[Round]
    latencies: Sequence[Latency]
    failures: Sequence[str]
    engines: Sequence[Engine]
    facts: dict[str, str]


def machine() -> dict[str, str]:
    """Return what the figures depend on besides the engines."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory_kb = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "cpu": f"{os.cpu_count()} x {cpu}",
        "memory": f"{memory_kb / 1e6:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "commit": _commit(),
    }


def markdown(found: Findings) -> str:
    """Return everything as Markdown."""
    rounds, latencies, engines, facts = found.rounds, found.latencies, found.engines, found.facts
    parts = ["; ".join(f"{name}: {value}" for name, value in facts.items())]
    parts += [
        f"{one.title}: " + ", ".join(f"{name} {number}" for name, number in one.versions().items()) for one in engines
    ]
    done = [one for group in rounds for one in group]
    for mix in dict.fromkeys(one.mix for one in done):
        parts.append(_mix_table(mix, rounds, engines))
    parts += [_turns_table(one) for one in done if one.turns]
    if latencies:
        parts.append(_latency_table(latencies, engines))
    failures = [f"- {failure}" for failure in found.failures]
    parts.append("\n".join(["**FAILED**", *failures]) if failures else "Every outcome was there, once, as it must be.")
    return "\n\n".join(parts)


def plain(found: Findings) -> dict[str, Any]:
    """Return everything as what JSON can hold."""
    rounds = found.rounds
    mixes = dict.fromkeys(one.mix for group in rounds for one in group)
    return {
        "machine": found.facts,
        "versions": {one.name: one.versions() for one in found.engines},
        "runs": [[{**asdict(one), "per_s": one.per_s} for one in group] for group in rounds],
        "ratios": {mix: {peer: _ratios(rounds, mix, peer) for peer in PEERS} for mix in mixes},
        "latencies": [asdict(one) for one in found.latencies],
        "failures": found.failures,
    }


def _mix_table(mix: str, rounds: Sequence[Round], engines: Sequence[Engine]) -> str:
    some = next(one for group in rounds for one in group if one.mix == mix)
    lines = [
        f"**{mix}**: {some.records:,} records of {some.record_bytes:.0f} bytes, median of {len(rounds)}",
        "",
        "| engine | records/s | CPU s/million | of the broker | peak memory | written | Truthloop: speed | its CPU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for engine in engines:
        mine = [one for group in rounds for one in group if (one.mix, one.engine) == (mix, engine.name)]
        if not mine:
            lines.append(f"| {engine.title} | failed | | | | | | |")
            continue
        ratios = _ratios(rounds, mix, engine.name) if engine.name != SUBJECT else {}
        speed = [one.per_s for one in mine]
        spread = f" ({min(speed):,.0f} to {max(speed):,.0f})" if len(mine) > 1 else ""
        cells = [
            engine.title,
            f"{median(speed):,.0f}{spread}",
            *(f"{_median(mine, of):.2f}" for of in (_cpu, _broker_cpu)),
            f"{_median(mine, _rss):,.0f} MB",
            f"{_median(mine, _written):,.0f} MB",
            *(f"{ratios[name]:.2f}" if name in ratios else "" for name in ("speed", "cpu")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _turns_table(one: Throughput) -> str:
    """Return what one measurement's turns went into; what is no CPU time of the thread is waiting."""
    per_million = 1e6 / one.records
    lines = [
        f"**{one.engine}, {one.mix}**: seconds of its thread for a million records",
        "",
        "| part of a turn | wall | CPU | waiting |",
        "|---|---|---|---|",
    ]
    for part, (wall_s, cpu_s) in one.turns.items():
        seconds = (wall_s * per_million, cpu_s * per_million, (wall_s - cpu_s) * per_million)
        lines.append(f"| {part} | {' | '.join(f'{value:.2f}' for value in seconds)} |")
    return "\n".join(lines)


def _latency_table(latencies: Sequence[Latency], engines: Sequence[Engine]) -> str:
    lines = [
        f"**latency** at {latencies[0].per_second:,} records a second, label due to outcome read, in ms",
        "",
        (
            "| engine | p50 | p90 | p99 | greatest | labels | worker, of a core | broker "
            "| acked p50, p99 | writer late |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for engine in engines:
        for one in (one for one in latencies if one.engine == engine.name):
            ages = [f"{one.ages[name]:.0f}" for name in ("p50_ms", "p90_ms", "p99_ms", "max_ms")]
            shares = [f"{share:.0%}" for share in (one.cpu_share, one.broker_cpu_share)]
            acks = f"{one.writer['ack_p50_ms']:.0f}, {one.writer['ack_p99_ms']:.0f}"
            late = f"{one.writer['slip_max_ms']:.0f}"
            cells = [engine.title, *ages, f"{one.ages['measured']:,.0f}", *shares, acks, late]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratios(rounds: Iterable[Round], mix: str, peer: str) -> dict[str, float]:
    """Return how many times a peer's speed and CPU time Truthloop's are, where both were measured."""
    speeds, cpus = [], []
    for group in rounds:
        found = {one.engine: one for one in group if one.mix == mix}
        if SUBJECT in found and peer in found:
            mine, other = found[SUBJECT], found[peer]
            speeds.append(mine.per_s / other.per_s)
            cpus.append(mine.cpu_s / other.cpu_s if other.cpu_s else float("nan"))
    return {"speed": round(median(speeds), 3), "cpu": round(median(cpus), 3)} if speeds else {}


def _median(mine: Sequence[Throughput], of: Callable[[Throughput], float]) -> float:
    return median(of(one) for one in mine)


def _cpu(one: Throughput) -> float:
    return one.cpu_per_million


def _broker_cpu(one: Throughput) -> float:
    return one.broker_cpu_per_million


def _rss(one: Throughput) -> float:
    return one.rss_mb


def _written(one: Throughput) -> float:
    return one.written_mb


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _commit() -> str:
    """Return the commit that is measured; `+` where files differ from it."""
    here = Path(__file__).parent
    try:
        number = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, check=True)  # noqa: S607 - git is found or not
        changed = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, check=True)  # noqa: S607 - the same
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return number.stdout.decode().strip() + ("+" if changed.stdout.strip() else "")
