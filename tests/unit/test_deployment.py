"""Dockerfile, docker-compose.yml and deploy/ agree with the product; there is no container engine where tests run.

Held to: pinned images, loopback only, commands that exist, configs that are there, ports that are the roles' own.
"""

import re
import runpy
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import typer
import yaml

from streams.health import Health
from truthloop.__main__ import app
from truthloop.roles import ROLES, role_port
from truthloop.settings import load_settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "truthloop:local"}
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
MOUNTED = {"/loop": "examples/02-card-fraud", "/examples": "examples", "/etc/prometheus": "deploy"}
RULES = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text("utf-8"))["groups"][0]["rules"]


def mounts(service: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Return what a service mounts: path in the container -> what, and whether it may only be read."""
    parts = [volume.split(":") for volume in service.get("volumes", ())]
    return {part[1]: (part[0], part[2:] == ["ro"]) for part in parts}


def on_host(service: dict[str, Any], path: str) -> Path:
    """Return where a file of a container lies here."""
    folder = max((place for place in mounts(service) if path.startswith(f"{place}/")), key=len)
    return ROOT / mounts(service)[folder][0] / path.removeprefix(f"{folder}/")


def test_every_role_runs_and_nothing_else_does() -> None:
    """One service for each role, by the role's name."""
    running = {
        name: service["command"][1] for name, service in OURS.items() if service.get("command", [""])[0] == "run"
    }
    assert running == {role: role for role in ROLES}


def test_images_are_pinned_to_a_version() -> None:
    """Of the services, and of the image that is built."""
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert images.count("python:3.12-slim") == 2
    for image in images:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+[.\w-]*", image), image
    assert SERVICES["kafka"]["image"].startswith("apache/kafka:4.1.")


def test_everything_is_published_on_loopback_only() -> None:
    """And roles where `truthloop run` has them by default."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:") for port in ports)
    settings = load_settings(ROOT / "examples/02-card-fraud/truthloop.yaml", OURS["join"]["environment"])
    for role in ROLES:
        port = role_port(settings, role)
        assert published[role] == [f"127.0.0.1:{port}:{port}"]
    assert "network_mode" not in {key for service in SERVICES.values() for key in service}


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_service_says_what_its_program_understands(name: str) -> None:
    """Commands and options of the command line, or of the generator; files that are there."""
    service = OURS[name]
    words = [str(word) for word in service.get("command", ())]
    if "entrypoint" in service:
        program, *words = [str(word) for word in service["entrypoint"][1:]] + words
        assert on_host(service, program).is_file()
        text = (ROOT / "examples/company.py").read_text("utf-8")
        assert all(f'"{word}"' in text for word in words if word.startswith("--"))
        return
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    command = group.commands[words[0]]
    command.make_context(words[0], words[1:])  # refuses what it does not know
    config = on_host(service, words[words.index("--config") + 1])
    assert load_settings(config, service["environment"]).config.loop == "card-fraud"


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_container_may_do_no_more_than_it_has_to(name: str) -> None:
    """A root that is read, no capabilities; what is kept goes to named volumes, what is ours is only read."""
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    for place, (what, is_read_only) in mounts(service).items():
        if place.startswith("/data/"):
            assert what in COMPOSE["volumes"]
        else:
            assert (what, is_read_only) == (f"./{MOUNTED[place]}", True)
    kept = {service["environment"][key] for key in ("TRUTHLOOP_LAKE__URI", "TRUTHLOOP_STATE__DIR")}
    assert kept == {"/data/lake", "/data/state"}
    if name in ROLES:
        assert "/data/state" in mounts(service)
    assert mounts(OURS["lake"])["/data/lake"] == ("lake", False)


def test_services_wait_for_what_they_need() -> None:
    """A healthy Kafka, the company's topics, then the loop's; traffic comes only when asked for."""
    wait = {name: {n: c["condition"] for n, c in s.get("depends_on", {}).items()} for name, s in SERVICES.items()}
    assert wait["topics"] == {"kafka": "service_healthy"}
    assert wait["start"] == {"topics": "service_completed_successfully"}
    for role in ROLES:
        assert wait[role] == {"start": "service_completed_successfully"}
        assert SERVICES[role]["restart"] == "unless-stopped"
    assert [name for name, service in SERVICES.items() if service.get("profiles")] == ["traffic"]
    environment = SERVICES["kafka"]["environment"]
    inside = OURS["join"]["environment"]["TRUTHLOOP_KAFKA__BOOTSTRAP_SERVERS"]
    assert f"INSIDE://{inside}" in environment["KAFKA_ADVERTISED_LISTENERS"]
    assert inside in OURS["traffic"]["entrypoint"]


def test_prometheus_reads_every_role() -> None:
    """From the port that the role has."""
    settings = load_settings(ROOT / "examples/02-card-fraud/truthloop.yaml", {})
    job = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text("utf-8"))["scrape_configs"][0]
    targets = [target for group in job["static_configs"] for target in group["targets"]]
    assert targets == [f"{role}:{role_port(settings, role)}" for role in ROLES]
    service = SERVICES["prometheus"]
    config = service["command"][0].removeprefix("--config.file=")
    assert on_host(service, config).samefile(ROOT / "deploy/prometheus.yml")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_that_there_are(rule: dict[str, Any]) -> None:
    """By the names under which roles answer."""
    health = Health("join")
    health.records.labels("join", "labels").inc()
    health.rejects.labels("join", "stale").inc()
    health.turn(1, 1)
    health.stop_partition(1, "why")
    health.seconds.labels("join").observe(1)
    told = prometheus_client.generate_latest(health.registry).decode()
    for name in re.findall(r"truthloop_\w+", rule["expr"]):
        assert re.search(rf"^{name}\{{", told, re.MULTILINE), name
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_the_image_has_the_wheel_and_pinned_packages_only() -> None:
    """No extras, no sources, not root; every package that Truthloop itself names has its version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    build, final = DOCKERFILE.split("\nFROM ")[1:]
    copied = set(re.findall(r"^COPY (\w+) \1$", build, re.MULTILINE))
    assert copied == set(packages)
    assert re.findall(r"^COPY (.+)$", final, re.MULTILINE) == [
        "--from=build /opt/truthloop /opt/truthloop",
        "deploy/livez.py /opt/truthloop/livez.py",
    ]
    assert "[demo]" not in DOCKERFILE
    assert "--constraint constraints.txt /wheels/truthloop-*.whl" in build
    assert re.search(r"^USER 10001", final, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert {f"!{package}" for package in packages} | {"*", "!constraints.txt", "!deploy/livez.py"} <= set(ignored)
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()}
    named = {re.split(r"[<>=\[]", name)[0].lower() for name in project["project"]["dependencies"]}
    assert named <= pinned


@contextmanager
def answering(code: int) -> Iterator[int]:
    """Give the port of a role that answers with a code."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(b'{"status": "told"}')

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize(("codes", "ends"), [((200,), 0), ((503,), 1), ((200, 503), 1), ((), "no role answers")])
def test_the_health_check_tells_a_role_that_lives(
    codes: tuple[int, ...], ends: int | str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that answers no, among several, and none at all."""
    with answering(200) as gone:
        pass  # nobody listens there any more
    with answering(codes[0] if codes else 200) as one, answering(codes[-1] if codes else 200) as two:
        ports = [str(port) for port in (one, two)[: len(codes)]] or [str(gone)]
        monkeypatch.setattr(sys, "argv", ["livez.py", *ports])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "deploy/livez.py"), run_name="__main__")
    assert ended.value.code == ends
    assert capsys.readouterr().out.count("told") == len(codes)


def test_the_health_check_knows_the_roles_ports() -> None:
    """As many as there are roles, behind the config's own."""
    names = runpy.run_path(str(ROOT / "deploy/livez.py"))
    settings = load_settings(ROOT / "examples/02-card-fraud/truthloop.yaml", {})
    assert (names["ROLES"], names["HTTP_PORT"]) == (len(ROLES), settings.config.http.port)
    assert 'CMD ["python", "/opt/truthloop/livez.py"]' in DOCKERFILE
