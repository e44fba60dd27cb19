"""What deploy/monitoring asks Prometheus for is there: rules and dashboard name metrics and labels that exist."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from bc4all.identity import ClientId, Day
from bc4all.registry.versions import CHAMPION, Registered
from bc4all.schedule.metrics import SchedulerCollector
from bc4all.schedule.snapshot import JobRecord, Records, Snapshot
from bc4all.site.fleet import ClientFacts, Newest, job_facts
from bc4all.site.metrics import PublishedCollector
from tests.conftest import ROOT, make_client

FOLDER = ROOT / "deploy" / "monitoring"
FROM_PROMETHEUS = {"instance"}  # the label that it gives to whatever it has read
NOW = datetime(2026, 3, 10, tzinfo=UTC)


def existing() -> dict[str, set[str]]:
    """Each metric of a fleet with every fact there is, and its labels."""
    job = JobRecord(ClientId("a"), "predict", True, 1.0, 2.0, 3.0, 4.0, 5, 0.5)
    manifest = {"rows_in": 9, "rows_quarantined": 1, "coverage": 0.5, "drift": {"psi": {"f0": 0.1}}}
    newest, client = Newest(Day("2026-03-09"), manifest), make_client("a")
    jobs = {"predict": job_facts(client, "predict", [], False, NOW)}
    facts = ClientFacts(client, jobs, Registered({CHAMPION: 1}, {}), [newest.day], newest)
    scheduler = SchedulerCollector(Snapshot(records=Records({("train", "done"): 1}, [job])))
    families = [*scheduler.collect(), *PublishedCollector([facts]).collect()]
    assert all(family.samples for family in families)
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


METRICS = existing()


def rules() -> Iterator[str]:
    """The expression of each alert."""
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def rule_tests() -> Iterator[str]:
    """The series that promtool is given."""
    for test in yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]:
        yield from (series["series"] for series in test["input_series"])


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard."""
    shown: list[dict[str, Any]] = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    return shown


def queries() -> Iterator[str]:
    """What the dashboard's panels and variables ask for."""
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    variables = json.loads((FOLDER / "dashboard.json").read_text())["templating"]["list"]
    yield from (variable["query"]["query"] for variable in variables if variable["type"] == "query")


@pytest.mark.parametrize("expression", sorted({*rules(), *rule_tests(), *queries()}))
def test_names_metrics_and_labels_that_exist(expression: str) -> None:
    """A query of a metric that is not there is an alert that never comes."""
    selectors = re.findall(r"\b(bc4all_\w+)(?:\{([^}]*)\})?", expression)
    for name, matchers in selectors:
        assert name in METRICS
        assert set(re.findall(r"(\w+)\s*[=!]~?\s*\"", matchers)) <= METRICS[name] | FROM_PROMETHEUS
    grouped = {label for by in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for label in by.split(", ")}
    assert grouped <= set[str]().union(*(METRICS[name] for name, _ in selectors))
    assert selectors or "node_textfile_mtime_seconds" in expression


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(queries())
    assert [name for name in METRICS if not re.search(rf"\b{name}\b", shown)] == []


def test_panels_lie_beside_each_other() -> None:
    """Each has an id of its own and a place of its own, within Grafana's 24 columns."""
    places = [panel["gridPos"] for panel in panels()]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels()}) == len(places)


def test_the_documentation_lists_every_metric() -> None:
    """With the labels that it has."""
    table = (ROOT / "docs" / "operations.md").read_text().partition("## Monitoring")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(bc4all_\w+)(?:\{([\w,]+)\})?`", table, re.MULTILINE)
    assert {name: set(labels.split(",")) - {""} for name, labels in rows} == METRICS


def test_alerts_come_when_they_should() -> None:
    """By promtool, which comes with Prometheus."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's package prometheus has it)")
    for words in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run([promtool, *words], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried() -> None:
    """In a test that expects it, with a summary and what to do."""
    tests = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]
    expected = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    (group,) = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    assert {rule["alert"] for rule in group["rules"]} == expected
    for rule in group["rules"]:
        assert set(rule["annotations"]) == {"summary", "description"}
