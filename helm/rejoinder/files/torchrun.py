"""torchrun with the exit code of what it runs: 3, a refused version, is not tried again. By itself it ends with 1."""

import sys
import time

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

try:
    main()
except ChildFailedError as error:
    # One of the pods holds what joins them. The others shall see their own end, and its code, before it goes.
    time.sleep(5)
    _, failure = error.get_first_failure()
    sys.exit(failure.exitcode if failure.exitcode > 0 else 1)
