"""`python -m gpu_leases` is `gpu-lease`."""

import sys

from gpu_leases.command import main

sys.exit(main())
