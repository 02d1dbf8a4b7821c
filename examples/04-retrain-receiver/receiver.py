"""Takes a loop's requests for a retrain, each once, and keeps them where your pipeline finds them.

Needs `pip install standardwebhooks` and nothing of ours; the README says how to try it.
"""

import os
import sys
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import NamedTemporaryFile

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

TAKEN = Path(os.environ.get("TAKEN_FOLDER", "taken"))  # keep its files for four days at least: so long an id may return
WEBHOOK = Webhook(os.environ["TRUTHLOOP_WEBHOOK_SECRET"])
BODY_BYTES_MAX = 65_536


class Receiver(BaseHTTPRequestHandler):
    """Answers 200 once the request is on disk, now or since an earlier time."""

    timeout = 20  # seconds; of a connection that says nothing

    def do_POST(self) -> None:
        """Take one request. Whatever is not answered 2xx is sent again."""
        size = self.headers.get("content-length", "")
        if not size.isdecimal() or len(size) > 5 or int(size) > BODY_BYTES_MAX:
            return self.answer(413)
        body = self.rfile.read(int(size))
        try:
            event = WEBHOOK.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError):  # a ValueError: headers that are malformed
            return self.answer(401)
        with NamedTemporaryFile(dir=TAKEN, prefix=".") as file:
            file.write(body)
            file.flush()
            with suppress(FileExistsError):  # it came before
                os.link(file.name, TAKEN / event["id"])  # all of the file or nothing, and the first one only
                print("train on", event["data"]["dataset"]["uri"], flush=True)
        return self.answer(200)

    def answer(self, status: int) -> None:
        """Send the status alone."""
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()


if __name__ == "__main__":
    TAKEN.mkdir(parents=True, exist_ok=True)
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
