"""Dockerfile, docker-compose.yml and deploy/ agree with the product; tests have no container engine.

Checked: pinned images, ports on loopback only, existing commands and configs, the ports of the roles.
"""

import json
import re
import runpy
import subprocess
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

from monitor.coverage.alert import CoverageAlert
from retrain.gate import Gate
from schemas.errors import ConfigError
from schemas.events.evidence import FindingKind, GateState
from streams.lake_sink.maintenance import MaintenanceMetrics
from streams.runtime.health import Health
from streams.runtime.turn_clock import TurnClock
from truthloop.__main__ import app
from truthloop.config.settings import load_settings
from truthloop.feedback.endpoints import access_of, receiver_of
from truthloop.feedback.live_metrics import OUTCOMES_PER_UPDATE
from truthloop.feedback.metrics import FeedbackMetrics, KindReading, LiveReading
from truthloop.run.roles import ROLES, role_port

ROOT = Path(__file__).parents[4]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "truthloop:local"}
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
MOUNTED = {"/loop": "examples/02-card-fraud", "/examples": "examples", "/etc/prometheus": "deploy"}
GROUPS = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text("utf-8"))["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
GRAFANA = ROOT / "deploy/grafana"
DASHBOARD = json.loads((GRAFANA / "truthloop.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TOKEN = "not-a-secret-but-long"  # noqa: S105 - of no page


def mounts(service: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Return the mounts of a service: path in the container -> source, and whether it is read-only."""
    parts = [volume.split(":") for volume in service.get("volumes", ())]
    return {part[1]: (part[0], part[2:] == ["ro"]) for part in parts}


def filled(environment: dict[str, str], **given: str) -> dict[str, str]:
    """Return an environment as compose resolves it: with the given values, or the defaults in the file."""

    def value_of(found: re.Match[str]) -> str:
        name, sign, default = found.groups()
        if sign == ":?" and not given.get(name):
            raise LookupError(default)
        return given.get(name) or default

    return {name: re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value_of, text) for name, text in environment.items()}


def on_host(service: dict[str, Any], path: str) -> Path:
    """Return the path in this repository of a file in a container."""
    folder = max((mount for mount in mounts(service) if path.startswith(f"{mount}/")), key=len)
    return ROOT / mounts(service)[folder][0] / path.removeprefix(f"{folder}/")


def test_there_is_one_service_for_each_role() -> None:
    """With the role's name."""
    running = {
        name: service["command"][1] for name, service in OURS.items() if service.get("command", [""])[0] == "run"
    }
    assert running == {role: role for role in ROLES}


def test_images_are_pinned_to_a_version() -> None:
    """Those of the services, and of the image that is built."""
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert images.count("python:3.12-slim") == 2
    for image in images:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+[.\w-]*", image), image
    assert SERVICES["kafka"]["image"].startswith("apache/kafka:4.1.")


def test_everything_is_published_on_loopback_only() -> None:
    """The ports of the roles are the defaults of `truthloop run`."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:") for port in ports)
    settings = load_settings(ROOT / "examples/02-card-fraud/truthloop.yaml", OURS["join"]["environment"])
    assert published["feedback"] == ["127.0.0.1:8080:8080"]
    for role in ROLES:
        port = role_port(settings, role)
        assert published[role] == [f"127.0.0.1:{port}:{port}"]
    assert "network_mode" not in {key for service in SERVICES.values() for key in service}


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_service_has_a_valid_command_line(name: str) -> None:
    """With existing commands, options and files, of Truthloop or of the generator."""
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
    command.make_context(words[0], words[1:])  # raises for an unknown option
    config = on_host(service, words[words.index("--config") + 1])
    environment = filled(service["environment"], TRUTHLOOP_HTTP_TOKEN=TOKEN)
    assert load_settings(config, environment).config.loop == "card-fraud"


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_container_has_minimal_rights(name: str) -> None:
    """A read-only root, no capabilities; data is in named volumes, files of this repository are read-only."""
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    for path, (source, is_read_only) in mounts(service).items():
        if path.startswith("/data/"):
            assert source in COMPOSE["volumes"]
        else:
            assert (source, is_read_only) == (f"./{MOUNTED[path]}", True)
    kept = {service["environment"][key] for key in ("TRUTHLOOP_LAKE__URI", "TRUTHLOOP_STATE__DIR")}
    assert kept == {"/data/lake", "/data/state"}
    if name in ROLES:
        assert "/data/state" in mounts(service)
    for role in ("lake", "feedback"):
        assert mounts(OURS[role])["/data/lake"] == ("lake", False)


def test_the_page_needs_a_token() -> None:
    """Nothing starts without one; with it, Prometheus' name for the role is an allowed host."""
    service = OURS["feedback"]
    with pytest.raises(LookupError, match="token of 16 characters"):
        filled(service["environment"])
    environment = filled(service["environment"], TRUTHLOOP_HTTP_TOKEN=TOKEN)
    settings = load_settings(on_host(service, "/loop/truthloop.yaml"), environment)
    access = access_of(settings, environment)
    assert not access.admits(None)
    assert access.admits(f"Bearer {TOKEN}")
    assert access.is_own_host("feedback:8080")
    assert not access.is_own_host("feedback.example.com:8080")
    without = {name: text for name, text in environment.items() if name != "TRUTHLOOP_HTTP_TOKEN"}
    with pytest.raises(ConfigError, match="to other machines without a token"):
        access_of(settings, without)


def test_a_retrain_is_requested_if_the_environment_names_a_target() -> None:
    """Not by default; data sets are in their own volume, and the secret is not in the file."""
    service = OURS["feedback"]
    config = on_host(service, "/loop/truthloop.yaml")
    environment = filled(service["environment"], TRUTHLOOP_HTTP_TOKEN=TOKEN)
    settings = load_settings(config, environment)
    assert settings.config.retrain is None
    assert receiver_of(settings, environment) is None
    secret = "whsec_" + "A" * 32
    section = '{target: {url: "https://pipeline.example.com/retrain"}, dataset: {uri: /data/datasets}}'
    given = {"TRUTHLOOP_HTTP_TOKEN": TOKEN, "TRUTHLOOP_RETRAIN": section, "TRUTHLOOP_WEBHOOK_SECRET": secret}
    environment = filled(service["environment"], **given)
    settings = load_settings(config, environment)
    assert receiver_of(settings, environment) is not None
    assert mounts(service)[str(settings.datasets)] == ("datasets", False)


def test_services_wait_for_what_they_need() -> None:
    """A healthy Kafka, the company's topics, then the loop's; traffic is optional."""
    wait = {name: {n: c["condition"] for n, c in s.get("depends_on", {}).items()} for name, s in SERVICES.items()}
    assert wait["topics"] == {"kafka": "service_healthy"}
    assert wait["start"] == {"topics": "service_completed_successfully"}
    for role in ROLES:
        assert wait[role] == {"start": "service_completed_successfully"}
        assert SERVICES[role]["restart"] == "unless-stopped"
    asked_for = {name: service["profiles"] for name, service in SERVICES.items() if service.get("profiles")}
    assert asked_for == {"traffic": ["traffic"], "grafana": ["grafana"]}
    environment = SERVICES["kafka"]["environment"]
    inside = OURS["join"]["environment"]["TRUTHLOOP_KAFKA__BOOTSTRAP_SERVERS"]
    assert f"INSIDE://{inside}" in environment["KAFKA_ADVERTISED_LISTENERS"]
    assert inside in OURS["traffic"]["entrypoint"]


def test_prometheus_reads_every_role() -> None:
    """At the role's port."""
    settings = load_settings(ROOT / "examples/02-card-fraud/truthloop.yaml", {})
    job = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text("utf-8"))["scrape_configs"][0]
    targets = [target for group in job["static_configs"] for target in group["targets"]]
    assert targets == [f"{role}:{role_port(settings, role)}" for role in ROLES]
    service = SERVICES["prometheus"]
    config = service["command"][0].removeprefix("--config.file=")
    assert on_host(service, config).samefile(ROOT / "deploy/prometheus.yml")


def all_series() -> set[str]:
    """Return the names of all series of the roles, and of the one that Prometheus itself adds."""
    health = Health("join")
    health.records.labels("join", "labels").inc()
    health.rejects.labels("join", "stale").inc()
    health.report_progress(1, 1)
    health.stop_partition(1, "why")
    health.seconds.labels("join").observe(1)
    TurnClock("join", health.registry).ends("step")
    maintenance = MaintenanceMetrics(health.registry)
    maintenance.files.labels("labels").inc()
    maintenance.deleted.labels("labels").inc()
    maintenance.left.labels("labels").inc()
    metrics = FeedbackMetrics(health.registry)
    metrics.set_active(lambda: True)
    metrics.count_refused_callback("signature")
    metrics.count_refused_ruling("token")
    newest = Gate(at_ms=1, since_ms=1, evaluated_ms=1)
    alert = CoverageAlert("ok", 0.0, 0.0, 24, 600, (), 1)
    reading = KindReading("fraud", newest, 1, 1, {}, alert, is_undeliverable=False, dataset_rows=1)
    metrics.set([reading], LiveReading({("fraud", "v1", "chargeback-1", "roc_auc"): 0.5}))
    text = prometheus_client.generate_latest(health.registry).decode()
    return {"up"} | set(re.findall(r"^(truthloop_\w+)[{ ]", text, re.MULTILINE))


def series_in(expression: str) -> set[str]:
    """Return the names of the series in an expression."""
    return set(re.findall(r"truthloop_\w+|\bup\b(?=\{)", expression))


def test_the_page_for_operators_names_every_series() -> None:
    """And no unknown one; one is ingest's own."""
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    named = set(re.findall(r"`(truthloop_\w+)`", page))
    exported = {re.sub(r"(?<=seconds)_(bucket|count|sum)$", "", name) for name in all_series()}
    assert named - {"truthloop_filtered_total"} == {name for name in exported if not name.endswith("_created")} - {"up"}
    assert f"{OUTCOMES_PER_UPDATE:,} outcomes at a time" in page


def test_expressions_for_prometheus_have_balanced_parentheses() -> None:
    """Nothing here can parse them."""
    expressions = [rule["expr"] for rule in RULES] + [target["expr"] for p in PANELS for target in p["targets"]]
    for text in expressions:
        assert series_in(text), text
        for one, other in ("()", "[]", "{}"):
            assert text.count(one) == text.count(other), text


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_uses_existing_metrics(rule: dict[str, Any]) -> None:
    """By the names that the roles export."""
    assert series_in(rule["expr"]) <= all_series()
    assert rule["labels"]["severity"] in ("page", "ticket")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_summary_an_impact_and_a_command(rule: dict[str, Any]) -> None:
    """A sentence each; the command is an existing one, or of a known tool."""
    texts = rule["annotations"]
    assert set(texts) == {"summary", "impact", "action"}
    assert all(len(text) > 20 for text in texts.values())
    words = re.findall(r"`([^`]+)`", texts["action"])
    assert words or "TRUTHLOOP_" in texts["action"] or "log" in texts["action"]
    group = typer.main.get_command(app)
    for typed in words:
        program, *rest = typed.split()
        if program == "truthloop":
            assert command_of(group, rest), typed


def command_of(group: Any, words: list[str]) -> bool:
    """Return whether words begin with an existing command."""
    command = group.commands.get(words[0])
    if command is None or not hasattr(command, "commands"):
        return command is not None
    return len(words) > 1 and words[1] in command.commands


def test_every_kind_of_finding_that_blocks_a_retrain_has_an_alert() -> None:
    """With the levels of the metric."""
    expressions = {rule["expr"] for rule in RULES}
    for finding in (FindingKind.COVERAGE, FindingKind.SILENCE):
        assert f'truthloop_finding_level{{finding="{finding.value}"}} == 3' in expressions


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_shows_existing_series_and_has_a_description(panel: dict[str, Any]) -> None:
    """From the data source that is chosen at the top, whatever its id."""
    assert len(panel["description"]) > 25
    assert panel["targets"]
    for target in panel["targets"]:
        assert series_in(target["expr"]) <= all_series()
        for name in re.findall(r"\$(\w+)", target["expr"]):
            assert name in {one["name"] for one in DASHBOARD["templating"]["list"]} | {"__rate_interval"}
        assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["datasource"]["uid"] == "${datasource}"


def test_the_dashboard_has_its_rows_and_no_panels_overlap() -> None:
    """Every id is used once, and every cell of the grid at most once."""
    panels = DASHBOARD["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == ["Gate", "Coverage and labels", "Findings", "Flow of roles", "Rejects", "Retrains"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    states = next(panel for panel in panels if panel["title"] == "Gate" and panel["type"] != "row")
    named = states["fieldConfig"]["defaults"]["mappings"][0]["options"]
    assert [named[str(number)]["text"] for number in range(len(GateState))] == [state.value for state in GateState]


def test_grafana_shows_the_dashboard_and_needs_a_password() -> None:
    """On loopback, without anonymous access, with the files that it mounts."""
    service = SERVICES["grafana"]
    assert service["ports"] == ["127.0.0.1:3000:3000"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    environment = service["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert environment["GF_USERS_ALLOW_SIGN_UP"] == "false"
    assert filled(environment)["GF_SECURITY_ADMIN_PASSWORD"] == ""
    script = service["entrypoint"][2].replace("$$", "$").replace("exec /run.sh", "echo started")
    for password, code, output in (("", 1, ""), ("short", 1, ""), ("long enough to do", 0, "started\n")):
        run = subprocess.run(  # as the container's shell would
            ["/bin/sh", "-c", script],
            env={"GF_SECURITY_ADMIN_PASSWORD": password},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.returncode, run.stdout) == (code, output)
    mounted = mounts(service)
    assert mounted["/etc/grafana/provisioning"] == ("./deploy/grafana/provisioning", True)
    assert mounted["/etc/grafana/dashboards/truthloop.json"] == ("./deploy/grafana/truthloop.json", True)
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text("utf-8"))["datasources"][0]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/truthloop.yml").read_text("utf-8"))["providers"][0]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"


def test_the_image_has_the_wheel_and_pinned_packages_only() -> None:
    """Protobuf is read, no demo, no sources, not root; every direct dependency has a pinned version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    build, final = DOCKERFILE.split("\nFROM ")[1:]
    copied = set(re.findall(r"^COPY (\w+) \1$", build, re.MULTILINE))
    assert copied == set(packages)
    assert re.findall(r"^COPY (.+)$", final, re.MULTILINE) == [
        "--from=build /opt/truthloop /opt/truthloop",
        "deploy/livez.py /opt/truthloop/livez.py",
    ]
    assert re.findall(r"\[[a-z]+\]", build) == ["[protobuf]"]
    assert '--constraint constraints.txt "$(ls /wheels/truthloop-*.whl)[protobuf]"' in build
    assert re.search(r"^USER 10001", final, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert {f"!{package}" for package in packages} | {"*", "!constraints.txt", "!deploy/livez.py"} <= set(ignored)
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()}
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["protobuf"]]
    named = {re.split(r"[<>=\[]", name)[0].lower() for name in wanted}
    assert named <= pinned


@contextmanager
def answering(code: int) -> Iterator[int]:
    """Yield the port of a role that answers with this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(b'{"status": "live"}')

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize(("codes", "ends"), [((200,), 0), ((503,), 1), ((200, 503), 1), ((), "no role answers")])
def test_the_health_check_finds_a_live_role(
    codes: tuple[int, ...], ends: int | str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that answers no, one of several, and none at all."""
    with answering(200) as gone:
        pass  # nobody listens there any more
    with answering(codes[0] if codes else 200) as one, answering(codes[-1] if codes else 200) as two:
        ports = [str(port) for port in (one, two)[: len(codes)]] or [str(gone)]
        monkeypatch.setattr(sys, "argv", ["livez.py", *ports])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "deploy/livez.py"), run_name="__main__")
    assert ended.value.code == ends
    assert capsys.readouterr().out.count("live") == len(codes)


def test_the_health_check_knows_the_roles_ports() -> None:
    """As many as there are roles, from the config's port on."""
    names = runpy.run_path(str(ROOT / "deploy/livez.py"))
    settings = load_settings(ROOT / "examples/02-card-fraud/truthloop.yaml", {})
    assert (names["ROLES"], names["HTTP_PORT"]) == (len(ROLES), settings.config.http.port)
    assert 'CMD ["python", "/opt/truthloop/livez.py"]' in DOCKERFILE
