"""The GPUs of this machine and the processes that use them.

`devices` names the GPUs, `leases` holds some of them for one command, `run_to_end` runs the command
until nothing of it is left, and `gpu_record` notes what it did on them. `lock_folder` is where the
locks of all users lie.
"""
