"""The scheduler's health can be asked for on loopback: by a supervisor, and by Prometheus."""

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from bc4all.errors import ConfigurationError
from bc4all.identity import ClientId
from bc4all.schedule.health import HealthServer
from bc4all.schedule.snapshot import JobRecord, Records, Snapshot


@pytest.fixture
def server() -> Iterator[HealthServer]:
    """A server on a free port."""
    running = HealthServer("127.0.0.1", 0)
    yield running
    running.close()


def test_tells_whether_the_scheduler_lives(server: HealthServer) -> None:
    """200 while it looks what is due, 503 once it has not for two minutes."""
    address = f"http://127.0.0.1:{server.port}/health"
    server.snapshot = Snapshot(time.time(), running=2, queued=3)
    fresh = requests.get(address, timeout=5)
    assert (fresh.status_code, fresh.json()["running"], fresh.json()["queued"]) == (200, 2, 3)
    server.snapshot = replace(server.snapshot, last_tick=time.time() - 121)
    assert requests.get(address, timeout=5).status_code == 503
    assert requests.get(address.replace("health", "else"), timeout=5).status_code == 404


def test_metrics_are_in_prometheus_format(server: HealthServer) -> None:
    """What the last snapshot says, with the content type by which Prometheus chooses its parser."""
    records = Records({("train", "done"): 4}, [JobRecord(ClientId("client_1"), "predict", ok=False)])
    server.snapshot = Snapshot(1.5, 1, 2, False, records, 1)
    answer = requests.get(f"http://127.0.0.1:{server.port}/metrics", timeout=5)
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(answer.text)
    samples = {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}
    assert samples == {
        ("bc4all_last_tick_timestamp_seconds",): 1.5,
        ("bc4all_running",): 1,
        ("bc4all_queued",): 2,
        ("bc4all_configuration_valid",): 0,
        ("bc4all_undelivered_notices",): 1,
        ("bc4all_runs", "train", "done"): 4,
        ("bc4all_last_run_ok", "client_1", "predict"): 0,
    }


@pytest.mark.parametrize(
    ("name", "status"),
    [("127.0.0.1", 200), ("localhost", 200), ("[::1]", 200), ("LOCALHOST.", 200), ("evil.example", 421), ("", 421)],
)
def test_answers_to_its_own_names_alone(server: HealthServer, name: str, status: int) -> None:
    """A page that the operator visits, and whose name then leads to loopback, does not read who the clients are."""
    for path in ("health", "metrics"):
        for port in ("", f":{server.port}"):
            headers = {"Host": f"{name}{port}"}
            answer = requests.get(f"http://127.0.0.1:{server.port}/{path}", headers=headers, timeout=5)
            assert answer.status_code == status
            assert "bc4all" in answer.text or "last_tick_age" in answer.text or status != 200


def test_while_as_many_as_may_are_there_one_more_is_closed(server: HealthServer) -> None:
    """Callers that send nothing use up a bounded number of threads; once one of them goes, there is an answer again."""
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(16)]
    address = f"http://127.0.0.1:{server.port}/health"
    with pytest.raises(requests.ConnectionError):
        requests.get(address, timeout=5)
    for caller in silent:
        caller.close()
    answered = False
    for _ in range(50):
        with contextlib.suppress(requests.ConnectionError):
            answered = requests.get(address, timeout=5).ok
            break
        time.sleep(0.1)
    assert answered


def test_a_request_that_comes_byte_by_byte_is_hung_up_on(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole request has a deadline, not each of its bytes."""
    monkeypatch.setattr("bc4all.schedule.health._REQUEST_S", 0.5)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as caller:

        def drip() -> None:
            for _ in range(500):
                caller.sendall(b"G")
                time.sleep(0.02)

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            drip()


def test_a_taken_port_is_told(server: HealthServer) -> None:
    """Another scheduler on the same port gets a clear error."""
    with pytest.raises(ConfigurationError, match=f"127.0.0.1:{server.port} cannot be had.*scheduler: {{port"):
        HealthServer("127.0.0.1", server.port)


def test_other_addresses_want_a_token() -> None:
    """Only loopback is open; elsewhere there is no answer without the token, and no server without one."""
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):  # noqa: S104 - what must be refused
        with pytest.raises(ConfigurationError, match=r"is not loopback, and there is no token .*BC4ALL_HEALTH_TOKEN"):
            HealthServer(host, 0)
    running = HealthServer("0.0.0.0", 0, "a long secret")  # noqa: S104 - closed below
    try:
        for path in ("health", "metrics", "else"):
            address = f"http://127.0.0.1:{running.port}/{path}"
            for header in ({}, {"Authorization": "Bearer a long secre"}, {"Authorization": "a long secret"}):
                refused = requests.get(address, headers=header, timeout=5)
                assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
                assert "a long secret" not in refused.text
            known = requests.get(address, headers={"Authorization": "Bearer a long secret"}, timeout=5)
            assert known.status_code == (404 if path == "else" else 200)
    finally:
        running.close()
