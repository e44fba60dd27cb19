"""A notice reaches a command and a webhook; a receiver that fails holds nothing up, and is counted."""

import json
import sys
import threading
from collections.abc import Iterator
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
            self.send_response(500 if self.path == "/refuse" else 204)
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


def test_counts_what_no_receiver_took(webhook: tuple[str, list[dict[str, object]]]) -> None:
    """A command that fails or is not there, and a webhook that answers 500, are each counted; the next is delivered."""
    address, posted = webhook
    notifier = Notifier(SchedulerSettings())
    for settings in (
        SchedulerSettings(notify_command=["/nowhere"]),
        SchedulerSettings(notify_command=[sys.executable, "-c", "raise SystemExit(3)"]),
        SchedulerSettings(notify_webhook=f"{address}/refuse"),
        SchedulerSettings(notify_webhook="http://127.0.0.1:1"),
        SchedulerSettings(notify_webhook=address),
    ):
        notifier.settings = settings
        notifier(Notice.of(RUN, "failed"))
    notifier.close()
    assert notifier.undelivered == 4
    assert len(posted) == 2
