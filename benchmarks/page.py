"""How long the largest page takes and how large it is: 400 cohorts of 14 ages, every panel filled.

    python benchmarks/page.py

Goals: below 100 ms, below 300 kB. CPU time of one core; rendering only, the view is made beforehand.
"""

import gzip
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from page_case import rich_view

from truthloop.page.markup.page import render_page

HOUR_MS = 3_600_000
DAYS = 400
AGES = 14
ROUNDS = 30


def main() -> None:
    """Print the size of the page and the time that it takes."""
    view = rich_view(DAYS, tuple(hours * HOUR_MS for hours in range(1, AGES + 1)))
    html = render_page(view).encode()
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        render_page(view)
        seconds.append(time.process_time() - start)
    print(
        f"{DAYS} cohorts of {AGES} ages: {len(html) / 1e3:.0f} kB, {len(gzip.compress(html)) / 1e3:.0f} kB compressed"
    )
    print(f"CPU ms: median {1e3 * statistics.median(seconds):.0f}, most {1e3 * max(seconds):.0f} of {ROUNDS} rounds")


if __name__ == "__main__":
    main()
