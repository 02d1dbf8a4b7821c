"""What one run of the demo has of its own."""

import socket

from retrain.signing import Secret
from truthloop.demo.environment import demo_environment


def test_ports_that_others_use_are_left_alone() -> None:
    """Somebody's server on the first port moves all of them."""
    first = int(demo_environment("broker:9092")["TRUTHLOOP_HTTP__PORT"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert int(demo_environment("broker:9092")["TRUTHLOOP_HTTP__PORT"]) > first


def test_the_secret_is_new_each_time_and_the_loop_can_use_it() -> None:
    """Nobody else can sign a request to the demo's pipeline."""
    one, two = (demo_environment("broker:9092")["TRUTHLOOP_WEBHOOK_SECRET"] for _ in range(2))
    assert one != two
    assert Secret.parse(one) is not None


def test_only_the_demos_own_pipeline_may_be_asked() -> None:
    """Its address is allowed by name."""
    environ = demo_environment("broker:9092")
    allowed = environ["TRUTHLOOP_RETRAIN__TARGET__ALLOW"].strip('[]"')
    assert environ["TRUTHLOOP_RETRAIN__TARGET__URL"] == f"http://{allowed}/retrain"
    assert environ["TRUTHLOOP_KAFKA__BOOTSTRAP_SERVERS"] == "broker:9092"
