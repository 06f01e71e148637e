"""GPUs of a machine that one command holds alone while it runs, among all users of the machine.

`leases` holds devices, `devices` names them, `run_to_end` runs a command until nothing of it is
left, and `gpu_record` notes what it did on them. `lock_folder` is where all users leave their
locks. `command` is the command line `gpu-lease`.
"""

from gpu_leases.errors import LeaseError as LeaseError
