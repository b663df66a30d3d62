"""How long the command line takes to answer `--help`, beside a bare Python start in the same run.

python benchmarks/start_up.py [--repeat N]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import glacierflow": [sys.executable, "-c", "import glacierflow"],
    "glacierflow --help": [sys.executable, "-c", "from glacierflow.cli import main; main()", "--help"],
    "import rasterio, boto3": [sys.executable, "-c", "import rasterio, boto3"],
}


def seconds(command: list[str], repeat: int) -> float:
    """Median wall seconds of a command."""
    taken = []
    for _ in range(repeat):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=7)
    repeat = parser.parse_args().repeat
    base = seconds(COMMANDS["python -c pass"], repeat)
    print(f"| command | seconds (median of {repeat}) | ratio to a bare Python |")
    print("| --- | --- | --- |")
    for name, command in COMMANDS.items():
        taken = seconds(command, repeat)
        print(f"| `{name}` | {taken:.2f} | {taken / base:.1f} |")


if __name__ == "__main__":
    main()
