"""Where this project looks at the configuration files of a call, before Snakemake reads them.

Snakemake imports every package of such a name while it puts together its options, and nothing else
of a project that early. As a scheduler it is that of `snakemake_scheduler_plugin_gpu`.
"""

from snakemake_scheduler_plugin_gpu import Scheduler as Scheduler
from snakemake_scheduler_plugin_vovnet import config_files

config_files.refuse_unreadable()
