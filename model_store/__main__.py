"""`python -m model_store`: see `cli`."""

import sys

from model_store.cli import main

sys.exit(main())
