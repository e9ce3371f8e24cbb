"""Entry point: `python -m training.evaluation.demo`."""

import sys

from training.evaluation.demo.circle import main

if __name__ == "__main__":
    sys.exit(main())
