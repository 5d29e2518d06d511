"""The client's programs: python3 lab/common/client stream|latency|transactions|udp ... (each has --help)."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from lab.common.client import latency, stream, transactions, udp  # noqa: E402  (the path must be set first)


def main() -> int:
    parser = argparse.ArgumentParser(prog="client", description=__doc__)
    modes = parser.add_subparsers(dest="mode", required=True)
    for module in (stream, latency, transactions, udp):
        mode = modes.add_parser(
            module.__name__.rpartition(".")[2],
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(mode)
        mode.set_defaults(main=module.main)
    arguments = parser.parse_args()
    return arguments.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
