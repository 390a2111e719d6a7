#!/usr/bin/python3
"""What breaks only under load: `make stress`, or PARTS="streams churn jobs" for some of it. Needs root and `make test-images`."""
import os
import sys

from common import FAILURES, judge, say

PARTS = ("streams", "churn", "jobs")


def main():
    for part in os.environ.get("PARTS", " ".join(PARTS)).split():
        if part not in PARTS:
            print(f"PARTS: {part} is none of {' '.join(PARTS)}", file=sys.stderr)
            return 2
        say(f"== {part}")
        try:
            __import__(part).run()
        except Exception as e:  # the other parts still have their turn
            judge(False, f"{part} ended: {type(e).__name__}: {e}")
    say(f"stress: {len(FAILURES)} failed")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
