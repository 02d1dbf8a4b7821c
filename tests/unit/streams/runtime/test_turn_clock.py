"""The parts of a role's turns, as its metrics show them."""

from prometheus_client import CollectorRegistry

from streams.runtime.turn_clock import TurnClock


class Hands:
    """Two clocks that a test sets."""

    def __init__(self) -> None:
        self.wall_s, self.cpu_s = 100.0, 7.0

    def pass_by(self, wall_s: float, cpu_s: float) -> None:
        """Let time pass."""
        self.wall_s += wall_s
        self.cpu_s += cpu_s


def test_time_is_counted_for_the_part_that_ends() -> None:
    """Without a gap, from where it began; waiting is what is no CPU time."""
    registry, hands = CollectorRegistry(), Hands()
    turn = TurnClock("join", registry, lambda: hands.wall_s, lambda: hands.cpu_s)
    hands.pass_by(50, 5)  # in another thread
    turn.begin()
    hands.pass_by(2, 0.5)
    turn.ends("consume")
    hands.pass_by(1, 1)
    turn.ends("step")
    hands.pass_by(4, 0.25)
    turn.ends("consume")

    def value(name: str, part: str) -> float | None:
        return registry.get_sample_value(f"truthloop_turn_{name}_total", {"role": "join", "part": part})

    assert [value("seconds", part) for part in ("consume", "step", "commit")] == [6, 1, None]
    assert [value("cpu_seconds", part) for part in ("consume", "step", "commit")] == [0.75, 1, None]
