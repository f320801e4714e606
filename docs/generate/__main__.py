"""Write the generated pages, or check them."""

from __future__ import annotations

import argparse
import sys

from . import pages

parser = argparse.ArgumentParser(prog="python -m docs.generate")
parser.add_argument(
    "--check", action="store_true", help="write nothing; exit with 1 if one is stale"
)
check = parser.parse_args().check
stale = {
    path: text
    for path, text in pages().items()
    if not path.is_file() or path.read_text(encoding="utf-8") != text
}
for path, text in stale.items():
    print(f"{'stale' if check else 'written'}: {path}")
    if not check:
        path.write_text(text, encoding="utf-8")
sys.exit(bool(stale and check))
