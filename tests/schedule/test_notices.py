"""A notice reaches a command and a webhook; a receiver that fails holds nothing up, and is counted."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from bc4all.config.settings import SchedulerSettings
from bc4all.schedule.history import Run
from bc4all.schedule.notices import Notice, Notifier

RUN = Run(
    1, "client_0", "train", "2026-01-31", "2026-01-31T04:00:00+00:00", 4, "schedule", "failed", 0.0, error="broken"
)


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """An address on loopback, and what was posted there; it refuses what is posted to /refuse."""
    posted: list[dict[str, object]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            strict = self.path == "/strict" and posted[-1]["event"] == "summary"
            self.send_response(400 if strict else 500 if self.path == "/refuse" else 204)
            self.end_headers()

        def log_message(self, format: str, *values: object) -> None:
            """Nothing on the test's output."""

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", posted
    server.shutdown()
    server.server_close()


def test_reaches_command_and_webhook(tmp_path: Path, webhook: tuple[str, list[dict[str, object]]]) -> None:
    """Both get the same JSON: which client's job, for which date, what happened, where its log is."""
    address, posted = webhook
    keep = f"import sys; open({str(tmp_path / 'notice')!r}, 'w').write(sys.stdin.read())"
    notifier = Notifier(SchedulerSettings(notify_command=[sys.executable, "-c", keep], notify_webhook=address))
    notifier(Notice.of(RUN, "failed"))
    notifier.close()
    assert posted == [json.loads((tmp_path / "notice").read_text())]
    told = {name: posted[0][name] for name in ("event", "client", "job", "day", "attempt", "error")}
    assert list(told.values()) == ["failed", "client_0", "train", "2026-01-31", 4, "broken"]
    assert notifier.undelivered == 0
    assert notifier.news() == {1: None}


@pytest.mark.parametrize(
    "settings",
    [
        SchedulerSettings(notify_command=["/nowhere"]),
        SchedulerSettings(notify_command=[sys.executable, "-c", "raise SystemExit(3)"]),
        SchedulerSettings(notify_webhook="http://127.0.0.1:1"),
        None,
    ],
)
def test_counts_what_no_receiver_took(
    webhook: tuple[str, list[dict[str, object]]], settings: SchedulerSettings | None
) -> None:
    """A command that fails or is not there, and a webhook that is not there or answers 500: counted, and told why."""
    notifier = Notifier(settings or SchedulerSettings(notify_webhook=f"{webhook[0]}/refuse"))
    notifier(Notice.of(RUN, "failed"))
    notifier.close()
    assert notifier.undelivered == 1
    (told,) = notifier.news().values()
    assert told


def wait_for(what: Callable[[], object]) -> None:
    """Wait until a delivery in the background has come so far."""
    for _ in range(1000):
        if what():
            return
        time.sleep(0.01)
    pytest.fail("it did not come so far")


def test_what_was_kept_is_told_in_a_summary(webhook: tuple[str, list[dict[str, object]]]) -> None:
    """After three refusals a receiver is left alone for a while; then it gets all at once, and nothing twice."""
    address, posted = webhook
    now = 0.0
    notifier = Notifier(SchedulerSettings(notify_webhook=f"{address}/refuse"), clock=lambda: now)
    for number in range(1, 11):
        notifier(Notice.of(replace(RUN, id=number), "failed"))
        wait_for(lambda: len(posted) >= min(number, 3) and not notifier._tasks)  # noqa: B023 - called at once
    assert len(posted) == 3
    assert notifier.undelivered == 10
    assert [str(error)[:4] for error in notifier.news().values()] == ["500 "] * 3 + ["held"] * 7
    notifier.settings = SchedulerSettings(notify_webhook=address)
    notifier.try_again()
    wait_for(lambda: not notifier._tasks)
    assert len(posted) == 3
    now = 301.0
    notifier.try_again()
    wait_for(lambda: len(posted) == 4 and not notifier._tasks)
    told = posted[-1]
    assert told["event"] == "summary"
    assert [notice["run"] for notice in told["notices"]] == list(range(1, 11))  # type: ignore[attr-defined]
    assert notifier.news() == dict.fromkeys(range(1, 11))
    notifier.close()
    assert notifier.undelivered == 0
    assert len(posted) == 4


def test_a_receiver_is_told_once_while_another_one_is_away(
    tmp_path: Path, webhook: tuple[str, list[dict[str, object]]]
) -> None:
    """A command that has taken a notice does not get it again for the webhook's sake."""
    keep = f"import sys; open({str(tmp_path / 'notices')!r}, 'a').write(sys.stdin.read() + chr(10))"
    command, now = [sys.executable, "-c", keep], 0.0
    settings = SchedulerSettings(notify_command=command, notify_webhook=f"{webhook[0]}/refuse")
    notifier = Notifier(settings, clock=lambda: now)
    for number in (1, 2, 3):
        notifier(Notice.of(replace(RUN, id=number), "failed"))
        wait_for(lambda: not notifier._tasks)
    now = 1000.0
    notifier.try_again()
    wait_for(lambda: not notifier._tasks)
    notifier.close()
    told = [json.loads(line) for line in (tmp_path / "notices").read_text().splitlines()]
    single = [notice for one in told for notice in one.get("notices", [one])]
    assert sorted(notice["run"] for notice in single) == [1, 2, 3]


def test_a_receiver_that_takes_no_summary_gets_each(webhook: tuple[str, list[dict[str, object]]]) -> None:
    """One that answers 400 to it gets one by one; a single notice that it refuses so is not sent again."""
    address, posted = webhook
    now = 0.0
    notifier = Notifier(SchedulerSettings(notify_webhook=f"{address}/refuse"), clock=lambda: now)
    for number in range(1, 6):
        notifier(Notice.of(replace(RUN, id=number), "failed"))
        wait_for(lambda: not notifier._tasks)
    notifier.settings, now = SchedulerSettings(notify_webhook=f"{address}/strict"), 1000.0
    posted.clear()
    notifier.try_again()
    wait_for(lambda: not notifier._tasks)
    assert [one["event"] for one in posted] == ["summary", *["failed"] * 5]
    assert notifier.undelivered == 0
    notifier.close()


def test_closing_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Receivers that hang hold the end up for so long and no longer; what they were not told is known."""
    monkeypatch.setattr("bc4all.schedule.notices._CLOSE_S", 0.2)
    slow = f"import time; open({str(tmp_path / 'told')!r}, 'a').write('x'); time.sleep(1)"
    notifier = Notifier(SchedulerSettings(notify_command=[sys.executable, "-c", slow]))
    for number in range(1, 41):
        notifier(Notice.of(replace(RUN, id=number), "failed"))
    notifier.close()
    assert len([error for error in notifier.news().values() if error]) >= 36
    notifier._pool.shutdown(wait=True)  # as a process's end does
    assert len((tmp_path / "told").read_text()) <= 8
