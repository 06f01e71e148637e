"""`python -m vovnet`, the form in which the rules of the DAG call a command."""

import sys

from vovnet.cli import main

sys.exit(main())
